return {
  ["refresh"] = {["disabled"] = false, ["displayName"] = "Refresh", ["iconClass"] = "fa fa-fw fa-sync"}
}
