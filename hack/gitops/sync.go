package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"slices"
	"time"

	"github.com/argoproj/argo-cd/gitops-engine/pkg/sync"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/sync/common"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/sync/resource"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/sync/syncwaves"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/utils/kube"
	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

type syncResult struct {
	Object  string `json:"object"`
	Status  string `json:"status"`
	Message string `json:"message"`
	// Where it came among the tasks.
	Order int `json:"order"`
}

type syncVerdict struct {
	Phase   string `json:"phase"`
	Message string `json:"message"`
	// Every message of the operation, in its order.
	Said      []string     `json:"said"`
	Resources []syncResult `json:"resources"`
	Seconds   float64      `json:"seconds"`
}

func argoSyncCommand(flags *flag.FlagSet) func(context.Context) (any, error) {
	given := flagsOfController(flags)
	force := flags.Bool("force", false, "as `argocd app sync --force`")
	timeout := flags.Duration("timeout", 2*time.Minute, "how long to follow the operation; it is then shown as it stands")
	return func(context.Context) (any, error) {
		c, err := given.start()
		if err != nil {
			return nil, err
		}
		defer c.live.Invalidate()
		return c.sync(*force, *timeout)
	}
}

// sync is an operation from its first step to its last. After SyncAppState of Argo CD's controller: each step begins with
// a new look at the live objects and the state that the last one left.
func (c *controller) sync(force bool, timeout time.Duration) (*syncVerdict, error) {
	started := time.Now()
	state := &syncVerdict{Phase: string(common.OperationRunning), Said: []string{}}
	var results []common.ResourceSyncResult
	for {
		found, err := c.pairs()
		if err != nil {
			return nil, err
		}
		options := append(c.operation(force),
			sync.WithInitialState(common.OperationPhase(state.Phase), state.Message, results, metav1.NewTime(started)))
		step, end, err := sync.NewSyncContext("revision", found, c.server.config, c.server.config, c.kubectl, c.namespace(), options...)
		if err != nil {
			return nil, fmt.Errorf("cannot begin to sync: %w", err)
		}
		step.Sync()
		var phase common.OperationPhase
		phase, state.Message, results = step.GetState()
		end()
		state.Phase = string(phase)
		if last := len(state.Said) - 1; last < 0 || state.Said[last] != state.Message {
			state.Said = append(state.Said, state.Message)
		}
		if phase.Completed() || time.Since(started) > timeout {
			break
		}
		time.Sleep(look)
	}
	for _, result := range results {
		key := result.ResourceKey
		state.Resources = append(state.Resources, syncResult{
			Object: key.Kind + "/" + key.Namespace + "/" + key.Name,
			Status: string(result.Status), Message: result.Message, Order: result.Order,
		})
	}
	state.Seconds = time.Since(started).Seconds()
	return state, nil
}

// operation are the options of a sync as the Application's policy says.
func (c *controller) operation(force bool) []sync.SyncOpt {
	foreground := metav1.DeletePropagationForeground
	return []sync.SyncOpt{
		sync.WithLogr(logr.Discard()),
		sync.WithHealthOverride(c.scripts),
		sync.WithOperationSettings(false, c.app.Spec.SyncPolicy.Automated.Prune, force, false),
		sync.WithManifestValidation(!c.app.option(common.SyncOptionsDisableValidation)),
		sync.WithPruneLast(c.app.option(common.SyncOptionPruneLast)),
		sync.WithPrunePropagationPolicy(&foreground),
		sync.WithReplace(c.app.option(common.SyncOptionReplace)),
		sync.WithServerSideApply(c.app.option(common.SyncOptionServerSideApply)),
		sync.WithServerSideApplyManager(manager),
		sync.WithSkipDryRunOnMissingResource(c.app.option(common.SyncOptionSkipDryRunOnMissingResource)),
		sync.WithSyncWaveHook(func(_ common.SyncPhase, _ int, final bool) error {
			if !final {
				time.Sleep(waveDelay)
			}
			return nil
		}),
	}
}

type deletion struct {
	Done bool `json:"done"`
	// Each wave that was deleted, in order.
	Waves [][]string `json:"waves"`
	// What is still there.
	Left    []string `json:"left"`
	Seconds float64  `json:"seconds"`
}

func argoDeleteCommand(flags *flag.FlagSet) func(context.Context) (any, error) {
	given := flagsOfController(flags)
	timeout := flags.Duration("timeout", time.Minute, "how long to follow the deletion; it is then shown as it stands")
	return func(ctx context.Context) (any, error) {
		c, err := given.start()
		if err != nil {
			return nil, err
		}
		defer c.live.Invalidate()
		return c.delete(ctx, *timeout)
	}
}

// delete takes the highest wave, waits until it is gone, then takes the next. After finalizeApplicationDeletion of Argo
// CD's controller.
func (c *controller) delete(ctx context.Context, timeout time.Duration) (*deletion, error) {
	started := time.Now()
	state := &deletion{Waves: [][]string{}, Left: []string{}}
	deleted := map[string]bool{}
	for {
		live, err := managed(c.live, c.app.Metadata.Name, nil)
		if err != nil {
			return nil, err
		}
		left := make([]*unstructured.Unstructured, 0, len(live))
		for _, object := range live {
			if isDeletable(object) {
				left = append(left, object)
			}
		}
		if len(left) == 0 {
			state.Done, state.Left = true, []string{}
			break
		}
		slices.SortFunc(left, func(a, b *unstructured.Unstructured) int {
			return cmp.Or(cmp.Compare(syncwaves.Wave(b), syncwaves.Wave(a)), cmp.Compare(name(a), name(b)))
		})
		var wave []string
		state.Left = nil
		for _, object := range left {
			state.Left = append(state.Left, name(object))
			if syncwaves.Wave(object) != syncwaves.Wave(left[0]) || deleted[name(object)] {
				continue
			}
			policy := metav1.DeletePropagationForeground
			options := metav1.DeleteOptions{PropagationPolicy: &policy}
			err := c.kubectl.DeleteResource(ctx, c.server.config, object.GroupVersionKind(), object.GetName(), object.GetNamespace(), options)
			if err != nil && !apierrors.IsNotFound(err) {
				return nil, fmt.Errorf("cannot delete %s: %w", name(object), err)
			}
			deleted[name(object)] = true
			wave = append(wave, name(object))
		}
		if wave != nil {
			state.Waves = append(state.Waves, wave)
		}
		if time.Since(started) > timeout {
			break
		}
		time.Sleep(look)
	}
	state.Seconds = time.Since(started).Seconds()
	return state, nil
}

func isDeletable(object *unstructured.Unstructured) bool {
	return !kube.IsCRD(object) &&
		!resource.HasAnnotationOption(object, common.AnnotationSyncOptions, common.SyncOptionDelete+"="+common.SyncValueFalse) &&
		!resource.HasAnnotationOption(object, "helm.sh/resource-policy", "keep")
}
