-- Where Git asks for a stopped app anyway, what started it by hand goes.
local lifecycle = obj.spec.lifecycle or {}
obj.metadata.annotations = obj.metadata.annotations or {}
if lifecycle.state == "Stopped" then
  obj.metadata.annotations["appofapps.dev/run-state"] = nil
else
  obj.metadata.annotations["appofapps.dev/run-state"] = "Stopped"
end
return obj
