-- Where Git asks for a running app anyway, what stopped it by hand goes.
local lifecycle = obj.spec.lifecycle or {}
obj.metadata.annotations = obj.metadata.annotations or {}
if lifecycle.state == "Running" then
  obj.metadata.annotations["appofapps.dev/run-state"] = nil
else
  obj.metadata.annotations["appofapps.dev/run-state"] = "Running"
end
return obj
