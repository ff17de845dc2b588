-- The digest stands for this rollout: one that begins meanwhile goes on.
if obj.status == nil or obj.status.rollout == nil or obj.status.rollout.digest == nil then
  error("no rollout is under way: status.rollout.digest is absent")
end
obj.metadata.annotations = obj.metadata.annotations or {}
obj.metadata.annotations["appofapps.dev/abort-rollout"] = obj.status.rollout.digest
return obj
