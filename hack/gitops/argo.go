package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"slices"
	"time"

	"github.com/argoproj/argo-cd/gitops-engine/pkg/cache"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/diff"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/health"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/sync"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/sync/resource"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/utils/kube"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/utils/tracing"
	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const (
	// manager is who Argo CD is in server-side applies.
	manager = "argocd-controller"
	// waveDelay is Argo CD's default of ARGOCD_SYNC_WAVE_DELAY.
	waveDelay = 2 * time.Second
	look      = 300 * time.Millisecond
)

// controller is Argo CD's application controller over one Application.
type controller struct {
	app     *application
	scripts *scripts
	server  *cluster
	kubectl *kube.KubectlCmd
	live    cache.ClusterCache
	how     tracking
}

type controllerFlags struct {
	app     func() (*application, error)
	scripts func() (*scripts, error)
	cluster func() (*cluster, error)
	how     *string
}

func flagsOfController(flags *flag.FlagSet) controllerFlags {
	return controllerFlags{
		applicationFlag(flags), scriptsFlag(flags), clusterFlag(flags),
		flags.String("tracking", string(byAnnotation), "annotation or label"),
	}
}

func (f controllerFlags) start() (*controller, error) {
	app, err := f.app()
	if err != nil {
		return nil, err
	}
	known, err := f.scripts()
	if err != nil {
		return nil, err
	}
	server, err := f.cluster()
	if err != nil {
		return nil, err
	}
	how := tracking(*f.how)
	if how != byAnnotation && how != byLabel {
		return nil, fmt.Errorf("-tracking is %q: annotation or label", how)
	}
	live, err := watch(server, known, how)
	if err != nil {
		return nil, err
	}
	kubectl := &kube.KubectlCmd{Log: logr.Discard(), Tracer: tracing.NopTracer{}}
	return &controller{app, known, server, kubectl, live, how}, nil
}

func (c *controller) namespace() string { return c.app.Spec.Destination.Namespace }

// wanted are the Application's manifests as they are compared and applied: with namespace and tracking mark.
func (c *controller) wanted() ([]*unstructured.Unstructured, error) {
	targets, err := c.app.targets()
	if err != nil {
		return nil, err
	}
	for _, target := range targets {
		namespaced, err := c.live.IsNamespaced(target.GroupVersionKind().GroupKind())
		// A kind that is not there yet is taken for namespaced, as Argo CD takes it.
		if target.GetNamespace() == "" && (err != nil || namespaced) {
			target.SetNamespace(c.namespace())
		}
		c.how.mark(target, c.app.Metadata.Name)
	}
	return targets, nil
}

// pairs are targets with their live objects, those without a target among them.
func (c *controller) pairs() (sync.ReconciliationResult, error) {
	targets, err := c.wanted()
	if err != nil {
		return sync.ReconciliationResult{}, err
	}
	live, err := managed(c.live, c.app.Metadata.Name, targets)
	if err != nil {
		return sync.ReconciliationResult{}, fmt.Errorf("cannot find live objects: %w", err)
	}
	return sync.Reconcile(targets, live, c.namespace(), c.live), nil
}

type resourceStatus struct {
	Object string  `json:"object"`
	Sync   string  `json:"sync"`
	Health verdict `json:"health"`
	// What differs: the live object as it is and as a sync would leave it.
	Live   json.RawMessage `json:"live,omitempty"`
	Synced json.RawMessage `json:"synced,omitempty"`
}

type appStatus struct {
	Sync      string           `json:"sync"`
	Health    string           `json:"health"`
	Resources []resourceStatus `json:"resources"`
}

func argoStatusCommand(flags *flag.FlagSet) func(context.Context) (any, error) {
	given := flagsOfController(flags)
	mode := flags.String("diff", "three-way", "three-way, structured-merge or server-side")
	return func(context.Context) (any, error) {
		c, err := given.start()
		if err != nil {
			return nil, err
		}
		defer c.live.Invalidate()
		return c.status(*mode)
	}
}

func (c *controller) status(mode string) (*appStatus, error) {
	options, end, err := c.comparison(mode)
	if err != nil {
		return nil, err
	}
	defer end()
	found, err := c.pairs()
	if err != nil {
		return nil, err
	}
	whole := &appStatus{Sync: "Synced", Health: string(health.HealthStatusHealthy)}
	for i, target := range found.Target {
		one, err := c.compare(target, found.Live[i], options)
		if err != nil {
			return nil, err
		}
		if one.Sync != "Synced" {
			whole.Sync = one.Sync
		}
		if health.IsWorse(health.HealthStatusCode(whole.Health), health.HealthStatusCode(one.Health.Status)) {
			whole.Health = one.Health.Status
		}
		whole.Resources = append(whole.Resources, *one)
	}
	slices.SortFunc(whole.Resources, func(a, b resourceStatus) int { return cmp.Compare(a.Object, b.Object) })
	return whole, nil
}

func (c *controller) comparison(mode string) ([]diff.Option, func(), error) {
	options := []diff.Option{
		diff.WithLogr(logr.Discard()), diff.WithManager(manager), diff.WithGVKParser(c.live.GetGVKParser()),
	}
	switch mode {
	case "three-way":
		return options, func() {}, nil
	case "structured-merge":
		return append(options, diff.WithStructuredMergeDiff(true)), func() {}, nil
	case "server-side":
		applier, end, err := c.kubectl.ManageServerSideDiffDryRuns(c.server.config)
		if err != nil {
			return nil, nil, fmt.Errorf("cannot prepare dry runs: %w", err)
		}
		runner := diff.NewK8sServerSideDryRunner(applier)
		return append(options, diff.WithServerSideDiff(true), diff.WithServerSideDryRunner(runner)), end, nil
	}
	return nil, nil, fmt.Errorf("-diff is %q: three-way, structured-merge or server-side", mode)
}

func (c *controller) compare(target, live *unstructured.Unstructured, options []diff.Option) (*resourceStatus, error) {
	shown := target
	if shown == nil {
		shown = live
	}
	one := &resourceStatus{Object: name(shown), Sync: "Synced"}
	if live == nil {
		one.Sync, one.Health.Status = "OutOfSync", string(health.HealthStatusMissing)
		return one, nil
	}
	if live.GetAnnotations()["argocd.argoproj.io/ignore-healthcheck"] != "true" {
		one.Health = argoHealth(c.scripts, live)
	}
	if target == nil {
		if !resource.HasAnnotationOption(live, "argocd.argoproj.io/compare-options", "IgnoreExtraneous") {
			one.Sync = "OutOfSync"
		}
		return one, nil
	}
	compared, err := diff.Diff(target, live, options...)
	if err != nil {
		return nil, fmt.Errorf("cannot compare %s: %w", name(target), err)
	}
	if compared.Modified {
		one.Sync, one.Live, one.Synced = "OutOfSync", compared.NormalizedLive, compared.PredictedLive
	}
	return one, nil
}

type node struct {
	Object string   `json:"object"`
	Owners []string `json:"owners,omitempty"`
	Health verdict  `json:"health"`
}

func argoTreeCommand(flags *flag.FlagSet) func(context.Context) (any, error) {
	given := flagsOfController(flags)
	return func(context.Context) (any, error) {
		c, err := given.start()
		if err != nil {
			return nil, err
		}
		defer c.live.Invalidate()
		return c.tree()
	}
}

func (c *controller) tree() ([]node, error) {
	found, err := c.pairs()
	if err != nil {
		return nil, err
	}
	var roots []kube.ResourceKey
	for _, live := range found.Live {
		if live != nil {
			roots = append(roots, kube.GetResourceKey(live))
		}
	}
	if roots == nil {
		return nil, errors.New("the Application has no live object")
	}
	nodes := []node{}
	c.live.IterateHierarchyV2(roots, func(found *cache.Resource, _ map[kube.ResourceKey]*cache.Resource) bool {
		one := node{Object: found.Ref.Kind + "/" + found.Ref.Namespace + "/" + found.Ref.Name}
		for _, owner := range found.OwnerRefs {
			one.Owners = append(one.Owners, owner.Kind+"/"+owner.Name)
		}
		if kept, ok := found.Info.(*info); ok {
			one.Health = kept.health
		}
		nodes = append(nodes, one)
		return true
	})
	slices.SortFunc(nodes, func(a, b node) int { return cmp.Compare(a.Object, b.Object) })
	return nodes, nil
}
