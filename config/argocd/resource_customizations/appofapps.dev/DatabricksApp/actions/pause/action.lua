obj.metadata.annotations = obj.metadata.annotations or {}
obj.metadata.annotations["appofapps.dev/paused"] = "true"
return obj
