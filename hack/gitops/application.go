package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fluxcd/pkg/kustomize"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// application is an Argo CD Application and a checkout of its repository.
type application struct {
	applicationFields
	repository string
}

// applicationFields is what of an Application decides a sync here.
type applicationFields struct {
	Metadata struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		Source struct {
			Path      string `json:"path"`
			Directory struct {
				Recurse bool   `json:"recurse"`
				Include string `json:"include"`
				Exclude string `json:"exclude"`
			} `json:"directory"`
		} `json:"source"`
		Destination struct {
			Namespace string `json:"namespace"`
		} `json:"destination"`
		SyncPolicy struct {
			Automated struct {
				Prune    bool `json:"prune"`
				SelfHeal bool `json:"selfHeal"`
			} `json:"automated"`
			SyncOptions []string `json:"syncOptions"`
		} `json:"syncPolicy"`
	} `json:"spec"`
}

func applicationFlag(flags *flag.FlagSet) func() (*application, error) {
	file := flags.String("file", "", "a file with the Application")
	named := flags.String("name", "", "which Application of it, where there are several")
	repository := flags.String("repository", "", "a checkout of the repository that it names")
	return func() (*application, error) {
		object, err := document(*file, "Application", *named)
		if err != nil {
			return nil, err
		}
		app := &application{repository: *repository}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &app.applicationFields); err != nil {
			return nil, fmt.Errorf("cannot read Application %s: %w", object.GetName(), err)
		}
		return app, nil
	}
}

// option is whether a sync option is set.
func (a *application) option(wanted string) bool {
	return slices.Contains(a.Spec.SyncPolicy.SyncOptions, wanted)
}

// targets are the manifests of the Application's path: of its kustomization where there is one, else of its files, as
// Argo CD's repository server makes them.
func (a *application) targets() ([]*unstructured.Unstructured, error) {
	folder := filepath.Join(a.repository, filepath.FromSlash(a.Spec.Source.Path))
	if _, err := os.Stat(filepath.Join(folder, "kustomization.yaml")); err == nil {
		return build(a.repository, folder)
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	directory := a.Spec.Source.Directory
	matches := func(pattern, file string) bool {
		for _, one := range strings.Split(strings.Trim(pattern, "{}"), ",") {
			if ok, err := path.Match(one, file); ok && err == nil {
				return true
			}
		}
		return false
	}
	return files(folder, func(file string) bool {
		return (directory.Recurse || !strings.Contains(file, "/")) &&
			(directory.Include == "" || matches(directory.Include, file)) &&
			!(directory.Exclude != "" && matches(directory.Exclude, file))
	})
}

// build is what kustomize makes of a folder.
func build(root, folder string) ([]*unstructured.Unstructured, error) {
	made, err := kustomize.SecureBuild(root, folder, false)
	if err != nil {
		return nil, fmt.Errorf("cannot build %s: %w", folder, err)
	}
	text, err := made.AsYaml()
	if err != nil {
		return nil, fmt.Errorf("cannot build %s: %w", folder, err)
	}
	return parse(text)
}
