package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"

	"github.com/argoproj/argo-cd/gitops-engine/pkg/health"
	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

type judgement struct {
	Object  string  `json:"object"`
	ArgoCD  verdict `json:"argocd"`
	Kstatus verdict `json:"kstatus"`
}

type verdict struct {
	Status  string `json:"status"`
	Message string `json:"message"`
	// Why there is none. Of a script that fails Argo CD shows Unknown, and an error of the comparison.
	Error string `json:"error,omitempty"`
}

func judgeCommand(flags *flag.FlagSet) func(context.Context) (any, error) {
	load := scriptsFlag(flags)
	return func(context.Context) (any, error) {
		known, err := load()
		if err != nil {
			return nil, err
		}
		return ofEach(func(object *unstructured.Unstructured) (judgement, error) {
			return judgement{
				Object:  name(object),
				ArgoCD:  argoHealth(known, object),
				Kstatus: kstatus(object),
			}, nil
		})
	}
}

func kstatus(object *unstructured.Unstructured) verdict {
	computed, err := status.Compute(object)
	if err != nil {
		return verdict{Error: err.Error()}
	}
	return verdict{Status: computed.Status.String(), Message: computed.Message}
}

// argoHealth is what Argo CD shows; an empty status: it knows no health of that kind.
func argoHealth(known *scripts, object *unstructured.Unstructured) verdict {
	said, err := health.GetResourceHealth(object, known)
	shown := verdict{}
	if said != nil {
		shown.Status, shown.Message = string(said.Status), said.Message
	}
	if err != nil {
		shown.Error = err.Error()
	}
	return shown
}

func actionsCommand(flags *flag.FlagSet) func(context.Context) (any, error) {
	load := scriptsFlag(flags)
	return func(context.Context) (any, error) {
		known, err := load()
		if err != nil {
			return nil, err
		}
		return ofEach(func(object *unstructured.Unstructured) ([]action, error) {
			kind := known.of(object)
			if kind == nil {
				return []action{}, nil
			}
			actions, err := discover(kind.discovery, object)
			if err != nil {
				return nil, fmt.Errorf("actions of %s: %w", name(object), err)
			}
			return actions, nil
		})
	}
}

// actCommand runs an action as argocd-server does: only one that is offered and not disabled; the difference that it
// makes goes out as a JSON merge patch.
func actCommand(flags *flag.FlagSet) func(context.Context) (any, error) {
	load, connect := scriptsFlag(flags), clusterFlag(flags)
	chosen := flags.String("action", "", "name of the action")
	return func(ctx context.Context) (any, error) {
		known, err := load()
		if err != nil {
			return nil, err
		}
		objects, err := input()
		if err != nil {
			return nil, err
		}
		server, err := connect()
		if err != nil {
			return nil, err
		}
		resource, err := server.resource(objects[0], objects[0].GetNamespace())
		if err != nil {
			return nil, err
		}
		live, err := resource.Get(ctx, objects[0].GetName(), metav1.GetOptions{})
		if err != nil {
			return nil, fmt.Errorf("cannot read %s: %w", name(objects[0]), err)
		}
		patch, err := patchOf(known, live, *chosen)
		if err != nil {
			return nil, err
		}
		options := metav1.PatchOptions{FieldManager: "argocd-server"}
		_, err = resource.Patch(ctx, live.GetName(), types.MergePatchType, patch, options)
		if err != nil {
			return nil, fmt.Errorf("cannot patch %s with %s: %w", name(live), patch, err)
		}
		return json.RawMessage(patch), nil
	}
}

func patchOf(known *scripts, live *unstructured.Unstructured, chosen string) ([]byte, error) {
	kind := known.of(live)
	if kind == nil {
		return nil, fmt.Errorf("no scripts for %s", live.GroupVersionKind().GroupKind())
	}
	offered, err := discover(kind.discovery, live)
	if err != nil {
		return nil, err
	}
	var found *action
	for i := range offered {
		if offered[i].Name == chosen {
			found = &offered[i]
		}
	}
	if found == nil || found.Disabled {
		return nil, fmt.Errorf("action %q of %s is not offered, or disabled: %+v", chosen, name(live), offered)
	}
	after, err := changed(kind.actions[chosen], live)
	if err != nil {
		return nil, fmt.Errorf("action %s of %s: %w", chosen, name(live), err)
	}
	old, err := json.Marshal(live)
	if err != nil {
		return nil, err
	}
	wanted, err := json.Marshal(after)
	if err != nil {
		return nil, err
	}
	return jsonpatch.CreateMergePatch(old, wanted)
}
