local os = require("os")
obj.metadata.annotations = obj.metadata.annotations or {}
obj.metadata.annotations["appofapps.dev/restart-requested-at"] = os.date("!%Y-%m-%dT%XZ")
return obj
