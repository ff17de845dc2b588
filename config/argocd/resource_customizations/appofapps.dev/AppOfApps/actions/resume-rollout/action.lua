local os = require("os")
obj.metadata.annotations = obj.metadata.annotations or {}
-- An abort would end the rollout once more.
obj.metadata.annotations["appofapps.dev/abort-rollout"] = nil
obj.metadata.annotations["appofapps.dev/resume-rollout"] = os.date("!%Y-%m-%dT%XZ")
return obj
