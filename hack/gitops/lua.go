package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"time"

	"github.com/argoproj/argo-cd/gitops-engine/pkg/health"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	luajson "layeh.com/gopher-json"
)

// limit is how long Argo CD lets a script run.
const limit = time.Second

// action is a button of Argo CD, as its API shows it.
type action struct {
	Name        string `json:"name"`
	Disabled    bool   `json:"disabled,omitempty"`
	IconClass   string `json:"iconClass,omitempty"`
	DisplayName string `json:"displayName,omitempty"`
}

// evaluate runs a script on an object with what Argo CD gives it: the libraries base, table, package and a safe part of
// os, a second of time, and, for the health scripts of its own release alone, all other libraries. After runLua of
// Argo CD's util/lua.
func evaluate(object map[string]any, script string, allLibraries bool) (lua.LValue, error) {
	state := lua.NewState(lua.Options{SkipOpenLibs: !allLibraries})
	defer state.Close()
	for _, library := range []struct {
		name string
		open lua.LGFunction
	}{
		{lua.LoadLibName, lua.OpenPackage},
		{lua.BaseLibName, lua.OpenBase},
		{lua.TabLibName, lua.OpenTable},
	} {
		call := lua.P{Fn: state.NewFunction(library.open), Protect: true}
		if err := state.CallByParam(call, lua.LString(library.name)); err != nil {
			return nil, fmt.Errorf("cannot open Lua's library %s: %w", library.name, err)
		}
	}
	if !allLibraries {
		restrictOS(state)
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	state.SetContext(ctx)
	state.SetGlobal("actionParams", state.NewTable())
	state.SetGlobal("obj", toLua(state, object))
	if err := state.DoString(script); err != nil {
		return nil, err
	}
	return state.Get(-1), nil
}

// restrictOS offers `require("os")` with date and time alone, out of the interpreter's own library. There is no global os.
func restrictOS(state *lua.LState) {
	whole := lua.NewState()
	defer whole.Close()
	library := whole.GetGlobal(lua.OsLibName).(*lua.LTable)
	safe := map[string]lua.LGFunction{}
	for _, function := range []string{"date", "time"} {
		safe[function] = library.RawGetString(function).(*lua.LFunction).GFunction
	}
	state.PreloadModule(lua.OsLibName, func(state *lua.LState) int {
		state.Push(state.SetFuncs(state.NewTable(), safe))
		return 1
	})
}

func toLua(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case int64:
		return lua.LNumber(value)
	case []any:
		table := state.CreateTable(len(value), 0)
		for _, item := range value {
			table.Append(toLua(state, item))
		}
		return table
	case map[string]any:
		table := state.CreateTable(0, len(value))
		for key, item := range value {
			table.RawSetString(key, toLua(state, item))
		}
		return table
	default:
		return luajson.DecodeValue(state, value)
	}
}

// healthBy is what a health script says of an object; nothing and `{}` are an empty status, an unknown word is Unknown.
func healthBy(script string, object *unstructured.Unstructured, allLibraries bool) (*health.HealthStatus, error) {
	value, err := evaluate(object.Object, script, allLibraries)
	if err != nil {
		return nil, err
	}
	switch value.Type() {
	case lua.LTNil:
		return &health.HealthStatus{}, nil
	case lua.LTTable:
	default:
		return nil, fmt.Errorf("expect table output from Lua script, not %s", value.Type())
	}
	encoded, err := luajson.Encode(value)
	if err != nil {
		return nil, err
	}
	said := &health.HealthStatus{}
	if err := json.Unmarshal(encoded, said); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) && wrong.Value == "array" {
			return &health.HealthStatus{}, nil
		}
		return nil, err
	}
	switch said.Status {
	case health.HealthStatusUnknown, health.HealthStatusProgressing, health.HealthStatusSuspended,
		health.HealthStatusHealthy, health.HealthStatusDegraded, health.HealthStatusMissing:
		return said, nil
	}
	return &health.HealthStatus{Status: health.HealthStatusUnknown, Message: "Lua returned an invalid health status"}, nil
}

// table is the table that an action's script returns, as JSON.
func table(script string, object *unstructured.Unstructured) ([]byte, error) {
	value, err := evaluate(object.Object, script, false)
	if err != nil {
		return nil, err
	}
	if value.Type() != lua.LTTable {
		return nil, fmt.Errorf("expect table output from Lua script, not %s", value.Type())
	}
	return luajson.Encode(value)
}

// discover is what a discovery script offers for an object, by name.
func discover(script string, object *unstructured.Unstructured) ([]action, error) {
	encoded, err := table(script, object)
	if err != nil || string(encoded) == "[]" {
		return nil, err
	}
	found := map[string]json.RawMessage{}
	if err := json.Unmarshal(encoded, &found); err != nil {
		return nil, err
	}
	actions := make([]action, 0, len(found))
	for name, said := range found {
		offered := action{}
		if string(said) != "[]" {
			if err := json.Unmarshal(said, &offered); err != nil {
				return nil, fmt.Errorf("action %s: %w", name, err)
			}
		}
		offered.Name = name
		actions = append(actions, offered)
	}
	sort.Slice(actions, func(i, j int) bool { return actions[i].Name < actions[j].Name })
	return actions, nil
}

// changed is the object as an action script leaves it.
func changed(script string, object *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	encoded, err := table(script, object)
	if err != nil {
		return nil, err
	}
	result := map[string]any{}
	if err := json.Unmarshal(encoded, &result); err != nil {
		return nil, fmt.Errorf("an action has to return its object: %w", err)
	}
	restoreEmpty(result, object.Object)
	return &unstructured.Unstructured{Object: result}, nil
}

// restoreEmpty puts back what Lua cannot tell apart: an empty table comes out as an empty list. After cleanReturnedObj of
// Argo CD's util/lua.
func restoreEmpty(after, before any) {
	switch after := after.(type) {
	case map[string]any:
		was, _ := before.(map[string]any)
		for key, value := range after {
			if list, ok := value.([]any); ok && len(list) == 0 {
				if old, ok := was[key].(map[string]any); ok {
					after[key] = old
				}
				continue
			}
			restoreEmpty(value, was[key])
		}
	case []any:
		was, _ := before.([]any)
		for i, value := range after {
			if i < len(was) {
				restoreEmpty(value, was[i])
			}
		}
	}
}
