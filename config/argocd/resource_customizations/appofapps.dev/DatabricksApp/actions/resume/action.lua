if obj.metadata.annotations ~= nil then
  obj.metadata.annotations["appofapps.dev/paused"] = nil
end
return obj
