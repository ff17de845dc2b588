local annotations = obj.metadata.annotations or {}
local status = obj.status or {}
local paused = annotations["appofapps.dev/paused"] == "true"
local deleting = obj.metadata.deletionTimestamp ~= nil

local prune = (status.prune or {}).digest
local confirmed = prune == nil or annotations["appofapps.dev/confirm-prune"] == prune

local rollout = (status.rollout or {}).digest
local aborted = rollout ~= nil and annotations["appofapps.dev/abort-rollout"] == rollout
local progressing = {}
for _, condition in ipairs(status.conditions or {}) do
  if condition.type == "RolloutProgressing" then
    progressing = condition
  end
end
-- True: it is under way. False: it is through (Succeeded), or halted for the reason that it gives.
local through = progressing.status == nil or (progressing.status == "False" and progressing.reason == "Succeeded")
local waits = {["RolledBack"] = true, ["NotExercised"] = true, ["RolloutAborted"] = true}
local resumable = progressing.status == "False" and waits[progressing.reason] == true

return {
  ["refresh"] = {["disabled"] = false, ["displayName"] = "Refresh", ["iconClass"] = "fa fa-fw fa-sync"},
  ["pause"] = {["disabled"] = deleting or paused, ["displayName"] = "Pause", ["iconClass"] = "fa fa-fw fa-pause-circle"},
  ["resume"] = {["disabled"] = annotations["appofapps.dev/paused"] == nil, ["displayName"] = "Resume", ["iconClass"] = "fa fa-fw fa-play"},
  ["confirm-prune"] = {["disabled"] = deleting or confirmed, ["displayName"] = "Confirm deletions", ["iconClass"] = "fa fa-fw fa-trash"},
  ["resume-rollout"] = {["disabled"] = deleting or not resumable, ["displayName"] = "Resume rollout", ["iconClass"] = "fa fa-fw fa-forward"},
  ["abort-rollout"] = {["disabled"] = deleting or rollout == nil or through or aborted, ["displayName"] = "Abort rollout", ["iconClass"] = "fa fa-fw fa-undo"}
}
