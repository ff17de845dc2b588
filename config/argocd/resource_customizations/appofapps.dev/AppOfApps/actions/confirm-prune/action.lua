-- The digest stands for these children by name and uid: if another one leaves meanwhile, this confirms nothing.
if obj.status == nil or obj.status.prune == nil or obj.status.prune.digest == nil then
  error("no deletion waits for a confirmation: status.prune.digest is absent")
end
obj.metadata.annotations = obj.metadata.annotations or {}
obj.metadata.annotations["appofapps.dev/confirm-prune"] = obj.status.prune.digest
return obj
