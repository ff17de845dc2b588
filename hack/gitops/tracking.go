package main

import (
	"fmt"
	"strings"

	"github.com/argoproj/argo-cd/gitops-engine/pkg/cache"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/utils/kube"
	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const (
	trackingID    = "argocd.argoproj.io/tracking-id"
	trackingLabel = "app.kubernetes.io/instance"
)

// tracking is how Argo CD knows what belongs to an Application: by annotation, its default, or by label.
type tracking string

const (
	byAnnotation tracking = "annotation"
	byLabel      tracking = "label"
)

func (t tracking) mark(object *unstructured.Unstructured, app string) {
	if t == byLabel {
		labels := object.GetLabels()
		if labels == nil {
			labels = map[string]string{}
		}
		labels[trackingLabel] = app
		object.SetLabels(labels)
		return
	}
	annotations := object.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[trackingID] = identity(object, app)
	object.SetAnnotations(annotations)
}

// owner is the Application that an object belongs to. An id that speaks of another object was copied, and counts for
// nothing.
func (t tracking) owner(object *unstructured.Unstructured) string {
	if t == byLabel {
		return object.GetLabels()[trackingLabel]
	}
	id := object.GetAnnotations()[trackingID]
	app, _, _ := strings.Cut(id, ":")
	if id != identity(object, app) {
		return ""
	}
	return app
}

func identity(object *unstructured.Unstructured, app string) string {
	kind := object.GroupVersionKind()
	return fmt.Sprintf("%s:%s/%s:%s/%s", app, kind.Group, kind.Kind, object.GetNamespace(), object.GetName())
}

// info is what is kept of every object in the cache, as Argo CD's own cache does.
type info struct {
	owner  string
	health verdict
}

// watch fills Argo CD's cache of a cluster; the caller ends it.
func watch(server *cluster, known *scripts, how tracking) (cache.ClusterCache, error) {
	filled := cache.NewClusterCache(server.config,
		cache.SetLogr(logr.Discard()),
		cache.SetPopulateResourceInfoHandler(func(object *unstructured.Unstructured, _ bool) (any, bool) {
			kept := &info{owner: how.owner(object), health: argoHealth(known, object)}
			return kept, kept.owner != ""
		}))
	if err := filled.EnsureSynced(); err != nil {
		filled.Invalidate()
		return nil, fmt.Errorf("cannot watch the cluster: %w", err)
	}
	return filled, nil
}

// managed are the live objects of an Application and of its targets.
func managed(live cache.ClusterCache, app string, targets []*unstructured.Unstructured) (map[kube.ResourceKey]*unstructured.Unstructured, error) {
	return live.GetManagedLiveObjs(targets, func(resource *cache.Resource) bool {
		kept, ok := resource.Info.(*info)
		return ok && kept.owner == app
	})
}
