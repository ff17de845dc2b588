local annotations = obj.metadata.annotations or {}
local spec = obj.spec or {}
-- What is asked for by hand counts more than what Git asks for.
local state = annotations["appofapps.dev/run-state"] or (spec.lifecycle or {}).state
local paused = annotations["appofapps.dev/paused"] == "true"
local deleting = obj.metadata.deletionTimestamp ~= nil
local held = paused or spec.suspend == true or deleting
local stopped = state == "Stopped"

return {
  ["refresh"] = {["disabled"] = false, ["displayName"] = "Refresh", ["iconClass"] = "fa fa-fw fa-sync"},
  ["redeploy"] = {["disabled"] = held or stopped or spec.source == nil, ["displayName"] = "Redeploy", ["iconClass"] = "fa fa-fw fa-upload"},
  ["restart"] = {["disabled"] = held or stopped, ["displayName"] = "Restart", ["iconClass"] = "fa fa-fw fa-redo"},
  ["stop"] = {["disabled"] = deleting or stopped, ["displayName"] = "Stop", ["iconClass"] = "fa fa-fw fa-stop-circle"},
  ["start"] = {["disabled"] = deleting or state == "Running", ["displayName"] = "Start", ["iconClass"] = "fa fa-fw fa-play-circle"},
  ["pause"] = {["disabled"] = deleting or paused, ["displayName"] = "Pause", ["iconClass"] = "fa fa-fw fa-pause-circle"},
  ["resume"] = {["disabled"] = annotations["appofapps.dev/paused"] == nil, ["displayName"] = "Resume", ["iconClass"] = "fa fa-fw fa-play"}
}
