package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/polling"
	"github.com/fluxcd/cli-utils/pkg/object"
	"github.com/fluxcd/pkg/kustomize"
	"github.com/fluxcd/pkg/ssa"
	"github.com/fluxcd/pkg/ssa/utils"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	fluxGroup   = "kustomize.toolkit.fluxcd.io"
	fluxManager = "kustomize-controller"
)

// kustomization is a Flux Kustomization.
type kustomization struct {
	kustomizationFields
	whole *unstructured.Unstructured
}

// kustomizationFields is what of a Kustomization decides a reconciliation here.
type kustomizationFields struct {
	Metadata struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
	} `json:"metadata"`
	Spec struct {
		Path           string `json:"path"`
		Prune          bool   `json:"prune"`
		Wait           bool   `json:"wait"`
		Force          bool   `json:"force"`
		Timeout        string `json:"timeout"`
		DeletionPolicy string `json:"deletionPolicy"`
		DependsOn      []struct {
			Name string `json:"name"`
		} `json:"dependsOn"`
		HealthChecks []struct {
			APIVersion string `json:"apiVersion"`
			Kind       string `json:"kind"`
			Name       string `json:"name"`
			Namespace  string `json:"namespace"`
		} `json:"healthChecks"`
		PostBuild *struct{} `json:"postBuild"`
	} `json:"spec"`
}

type flux struct {
	manager    *ssa.ResourceManager
	client     client.Client
	repository string
	// A folder that keeps each Kustomization's inventory between runs, as its status does.
	inventory string
	timeout   time.Duration
}

type fluxFlags struct {
	cluster    func() (*cluster, error)
	file       *string
	only       *string
	repository *string
	inventory  *string
	timeout    *time.Duration
}

func flagsOfFlux(flags *flag.FlagSet) fluxFlags {
	return fluxFlags{
		clusterFlag(flags),
		flags.String("file", "", "a file with Kustomizations"),
		flags.String("name", "", "one of them alone, its dependencies taken for ready"),
		flags.String("repository", "", "a checkout of the source that they name"),
		flags.String("inventory", "", "a folder for their inventories"),
		flags.Duration("timeout", 0, "in place of each spec.timeout"),
	}
}

func (f fluxFlags) start() (*flux, []kustomization, error) {
	wanted, err := kustomizations(*f.file, *f.only)
	if err != nil {
		return nil, nil, err
	}
	server, err := f.cluster()
	if err != nil {
		return nil, nil, err
	}
	writer, err := client.New(server.config, client.Options{})
	if err != nil {
		return nil, nil, fmt.Errorf("cannot make a client: %w", err)
	}
	poller := polling.NewStatusPoller(writer, writer.RESTMapper(), polling.Options{})
	owner := ssa.Owner{Field: fluxManager, Group: fluxGroup}
	return &flux{ssa.NewResourceManager(writer, poller, owner), writer, *f.repository, *f.inventory, *f.timeout}, wanted, nil
}

// kustomizations are those of a file, those that others depend on first.
func kustomizations(file, only string) ([]kustomization, error) {
	objects, err := files(file, func(string) bool { return true })
	if err != nil {
		return nil, err
	}
	waiting := map[string]kustomization{}
	for _, object := range objects {
		if object.GetKind() != "Kustomization" || (only != "" && object.GetName() != only) {
			continue
		}
		read := kustomization{whole: object}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &read.kustomizationFields); err != nil {
			return nil, fmt.Errorf("cannot read Kustomization %s: %w", object.GetName(), err)
		}
		if only != "" {
			read.Spec.DependsOn = nil
		}
		waiting[object.GetName()] = read
	}
	if len(waiting) == 0 {
		return nil, fmt.Errorf("%s holds no Kustomization %s", file, only)
	}
	ordered, done := []kustomization{}, map[string]bool{}
	for len(waiting) > 0 {
		var free []string
		for name, one := range waiting {
			ready := true
			for _, needed := range one.Spec.DependsOn {
				ready = ready && done[needed.Name]
			}
			if ready {
				free = append(free, name)
			}
		}
		if free == nil {
			return nil, fmt.Errorf("%s: the dependencies of the Kustomizations are never met", file)
		}
		sort.Strings(free)
		for _, name := range free {
			ordered, done[name] = append(ordered, waiting[name]), true
			delete(waiting, name)
		}
	}
	return ordered, nil
}

type reconciliation struct {
	Name    string            `json:"name"`
	Ready   bool              `json:"ready"`
	Message string            `json:"message,omitempty"`
	Changes map[string]string `json:"changes"`
	Seconds float64           `json:"seconds"`
}

func fluxReconcileCommand(flags *flag.FlagSet) func(context.Context) (any, error) {
	given := flagsOfFlux(flags)
	return func(ctx context.Context) (any, error) {
		f, wanted, err := given.start()
		if err != nil {
			return nil, err
		}
		ready, verdicts := map[string]bool{}, []reconciliation{}
		for _, one := range wanted {
			verdict := f.reconcile(ctx, one, ready)
			ready[verdict.Name] = verdict.Ready
			verdicts = append(verdicts, verdict)
		}
		return verdicts, nil
	}
}

// reconcile builds, applies, prunes and waits. After reconcile of kustomize-controller.
func (f *flux) reconcile(ctx context.Context, one kustomization, ready map[string]bool) reconciliation {
	started := time.Now()
	verdict := reconciliation{Name: one.Metadata.Name, Changes: map[string]string{}}
	err := f.work(ctx, one, ready, verdict.Changes)
	verdict.Ready, verdict.Seconds = err == nil, time.Since(started).Seconds()
	if err != nil {
		verdict.Message = err.Error()
	}
	return verdict
}

func (f *flux) work(ctx context.Context, one kustomization, ready map[string]bool, changes map[string]string) error {
	for _, needed := range one.Spec.DependsOn {
		if !ready[needed.Name] {
			return fmt.Errorf("dependency '%s/%s' is not ready", one.Metadata.Namespace, needed.Name)
		}
	}
	objects, err := f.build(ctx, one)
	if err != nil {
		return fmt.Errorf("build failed: %w", err)
	}
	f.manager.SetOwnerLabels(objects, one.Metadata.Name, one.Metadata.Namespace)
	applied, err := f.manager.ApplyAllStaged(ctx, objects, applyOptions(one))
	for _, entry := range applied.Entries {
		changes[entry.Subject] = entry.Action.String()
	}
	if err != nil {
		return fmt.Errorf("apply failed: %w", err)
	}
	stale, err := f.keep(one, objects)
	if err != nil {
		return err
	}
	if one.Spec.Prune && len(stale) > 0 {
		if err := f.prune(ctx, one, stale, changes); err != nil {
			return fmt.Errorf("prune failed: %w", err)
		}
	}
	return f.wait(one, applied)
}

// build is what kustomize makes of the path, a kustomization.yaml generated where there is none, with variables replaced.
func (f *flux) build(ctx context.Context, one kustomization) ([]*unstructured.Unstructured, error) {
	copied, err := os.MkdirTemp("", "flux-build-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(copied)
	if err := os.CopyFS(copied, os.DirFS(f.repository)); err != nil {
		return nil, fmt.Errorf("cannot copy %s: %w", f.repository, err)
	}
	folder := filepath.Join(copied, filepath.FromSlash(one.Spec.Path))
	if _, err := kustomize.NewGenerator(copied, *one.whole).WriteFile(folder); err != nil {
		return nil, err
	}
	made, err := kustomize.SecureBuild(copied, folder, false)
	if err != nil {
		return nil, err
	}
	if one.Spec.PostBuild != nil {
		for _, resource := range made.Resources() {
			replaced, err := kustomize.SubstituteVariables(ctx, f.client, *one.whole, resource)
			if err != nil {
				return nil, err
			}
			// Nothing comes back of an object that asks to be left alone.
			if replaced == nil {
				continue
			}
			if _, err := made.Replace(replaced); err != nil {
				return nil, err
			}
		}
	}
	text, err := made.AsYaml()
	if err != nil {
		return nil, err
	}
	return parse(text)
}

// applyOptions are those of kustomize-controller: what it leaves alone, what it recreates, and whose fields it takes over.
func applyOptions(one kustomization) ssa.ApplyOptions {
	options := ssa.DefaultApplyOptions()
	options.Force = one.Spec.Force
	options.ExclusionSelector = map[string]string{fluxGroup + "/reconcile": "disabled", fluxGroup + "/ssa": "Ignore"}
	options.IfNotPresentSelector = map[string]string{fluxGroup + "/ssa": "IfNotPresent"}
	options.ForceSelector = map[string]string{fluxGroup + "/force": "enabled"}
	options.Cleanup = ssa.ApplyCleanupOptions{
		Annotations: []string{corev1.LastAppliedConfigAnnotation, "fluxcd.io/sync-checksum"},
		Labels:      []string{"fluxcd.io/sync-gc-mark"},
		FieldManagers: []ssa.FieldManager{
			{Name: "kubectl", OperationType: metav1.ManagedFieldsOperationApply},
			{Name: "kubectl", OperationType: metav1.ManagedFieldsOperationUpdate},
			{Name: "before-first-apply", OperationType: metav1.ManagedFieldsOperationUpdate},
			{Name: fluxManager, OperationType: metav1.ManagedFieldsOperationUpdate},
		},
		Exclusions: map[string]string{fluxGroup + "/ssa": "Merge"},
	}
	return options
}

func (f *flux) prune(ctx context.Context, one kustomization, stale []*unstructured.Unstructured, changes map[string]string) error {
	options := ssa.DeleteOptions{
		PropagationPolicy: metav1.DeletePropagationBackground,
		Inclusions:        f.manager.GetOwnerLabels(one.Metadata.Name, one.Metadata.Namespace),
		Exclusions:        map[string]string{fluxGroup + "/prune": "disabled", fluxGroup + "/reconcile": "disabled"},
	}
	deleted, err := f.manager.DeleteAll(ctx, stale, options)
	for _, entry := range deleted.Entries {
		changes[entry.Subject] = entry.Action.String()
	}
	return err
}

// wait is for everything that was applied, or for what healthChecks name. What is Failed ends it at once.
func (f *flux) wait(one kustomization, applied *ssa.ChangeSet) error {
	set := object.ObjMetadataSet{}
	switch {
	case one.Spec.Wait:
		set = applied.ToObjMetadataSet()
	default:
		for _, check := range one.Spec.HealthChecks {
			version, err := schema.ParseGroupVersion(check.APIVersion)
			if err != nil {
				return fmt.Errorf("healthChecks: %w", err)
			}
			kind := schema.GroupKind{Group: version.Group, Kind: check.Kind}
			set = append(set, object.ObjMetadata{Namespace: check.Namespace, Name: check.Name, GroupKind: kind})
		}
	}
	timeout, err := f.limit(one)
	if err != nil {
		return err
	}
	err = f.manager.WaitForSet(set, ssa.WaitOptions{Interval: look, Timeout: timeout, FailFast: true})
	if err != nil {
		return fmt.Errorf("health check failed: %w", err)
	}
	return nil
}

func (f *flux) limit(one kustomization) (time.Duration, error) {
	if f.timeout > 0 {
		return f.timeout, nil
	}
	timeout, err := time.ParseDuration(one.Spec.Timeout)
	if err != nil {
		return 0, fmt.Errorf("spec.timeout of Kustomization %s: %w", one.Metadata.Name, err)
	}
	return timeout, nil
}

// fluxDeleteCommand deletes in the order in which a person who means well does: those that depend on others first.
func fluxDeleteCommand(flags *flag.FlagSet) func(context.Context) (any, error) {
	given := flagsOfFlux(flags)
	return func(ctx context.Context) (any, error) {
		f, wanted, err := given.start()
		if err != nil {
			return nil, err
		}
		verdicts := []reconciliation{}
		for i := range wanted {
			one := wanted[len(wanted)-1-i]
			started := time.Now()
			verdict := reconciliation{Name: one.Metadata.Name, Changes: map[string]string{}}
			err := f.finalize(ctx, one, verdict.Changes)
			verdict.Ready, verdict.Seconds = err == nil, time.Since(started).Seconds()
			if err != nil {
				verdict.Message = err.Error()
			}
			verdicts = append(verdicts, verdict)
		}
		return verdicts, nil
	}
}

// finalize is what a deletionPolicy does: MirrorPrune (the default), Delete, WaitForTermination or Orphan.
func (f *flux) finalize(ctx context.Context, one kustomization, changes map[string]string) error {
	policy := one.Spec.DeletionPolicy
	if policy == "Orphan" || (!one.Spec.Prune && policy != "Delete" && policy != "WaitForTermination") {
		return nil
	}
	entries, err := f.kept(one)
	if err != nil {
		return err
	}
	objects := make([]*unstructured.Unstructured, 0, len(entries))
	for _, entry := range entries {
		objects = append(objects, entry.object())
	}
	if err := f.prune(ctx, one, objects, changes); err != nil {
		return err
	}
	if policy != "WaitForTermination" {
		return nil
	}
	var going []*unstructured.Unstructured
	for _, object := range objects {
		if changes[utils.FmtUnstructured(object)] == ssa.DeletedAction.String() {
			going = append(going, object)
		}
	}
	timeout, err := f.limit(one)
	if err != nil {
		return err
	}
	err = f.manager.WaitForTermination(going, ssa.WaitOptions{Interval: look, Timeout: timeout})
	if err != nil {
		return fmt.Errorf("deletion: %w", err)
	}
	return nil
}
