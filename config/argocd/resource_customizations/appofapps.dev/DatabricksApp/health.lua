-- Compatible with kstatus: Stalled is Degraded (Failed), Reconciling is Progressing (InProgress), Ready is Healthy
-- (Current). Suspended shows holds that a person put on the object; an app that Git stops is Healthy.
-- See docs/argo-cd.md of the Databricks App-of-Apps operator.
local hs = {status = "Progressing", message = "Waiting for the operator"}
local status = obj.status
-- Until the operator has seen the present spec, whatever the status says is about an earlier one.
if type(status) ~= "table" or status.observedGeneration == nil
  or status.observedGeneration ~= obj.metadata.generation then
  return hs
end
if type(status.conditions) ~= "table" then
  return hs
end
local conditions = {}
for _, condition in ipairs(status.conditions) do
  if type(condition) == "table" and condition.type ~= nil and conditions[condition.type] == nil then
    conditions[condition.type] = condition
  end
end
local rules = {
  {"Stalled", "True", "Degraded"},
  {"Suspended", "True", "Suspended"},
  {"Reconciling", "True", "Progressing"},
  {"Ready", "True", "Healthy"},
  {"Ready", "False", "Degraded"},
}
for _, rule in ipairs(rules) do
  local condition = conditions[rule[1]]
  if condition ~= nil and condition.status == rule[2] then
    hs.status = rule[3]
    hs.message = tostring(condition.message or condition.reason or "")
    return hs
  end
end
return hs
