package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/argoproj/argo-cd/gitops-engine/pkg/health"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"
)

// scripts are what Argo CD knows of kinds, by group and kind. It knows nothing where they are empty.
type scripts struct {
	kinds map[schema.GroupKind]*kindScripts
	// Those that come with a release of Argo CD may use all libraries for health.
	bundled bool
}

type kindScripts struct {
	health    string
	discovery string
	actions   map[string]string
}

// scriptsFlag offers the two places where scripts may lie. Whatever the place, they run without string and math: what
// is in argocd-cm has no other libraries.
func scriptsFlag(flags *flag.FlagSet) func() (*scripts, error) {
	folder := flags.String("customizations", "", "a folder as resource_customizations of Argo CD's sources")
	config := flags.String("argocd-cm", "", "a file with the ConfigMap argocd-cm")
	return func() (*scripts, error) {
		switch {
		case *folder != "" && *config != "":
			return nil, errors.New("give -customizations or -argocd-cm, not both")
		case *folder != "":
			return bundledScripts(*folder)
		case *config != "":
			return configuredScripts(*config)
		}
		return &scripts{}, nil
	}
}

func bundledScripts(folder string) (*scripts, error) {
	found := &scripts{kinds: map[schema.GroupKind]*kindScripts{}}
	healths, err := filepath.Glob(filepath.Join(folder, "*", "*", "health.lua"))
	if err != nil {
		return nil, err
	}
	if len(healths) == 0 {
		return nil, fmt.Errorf("no GROUP/KIND/health.lua in %s", folder)
	}
	for _, file := range healths {
		place := filepath.Dir(file)
		kind := schema.GroupKind{Group: filepath.Base(filepath.Dir(place)), Kind: filepath.Base(place)}
		read := &kindScripts{actions: map[string]string{}}
		if read.health, err = text(file); err != nil {
			return nil, err
		}
		if read.discovery, err = text(filepath.Join(place, "actions", "discovery.lua")); err != nil {
			return nil, err
		}
		actions, err := filepath.Glob(filepath.Join(place, "actions", "*", "action.lua"))
		if err != nil {
			return nil, err
		}
		for _, action := range actions {
			script, err := text(action)
			if err != nil {
				return nil, err
			}
			read.actions[filepath.Base(filepath.Dir(action))] = script
		}
		found.kinds[kind] = read
	}
	return found, nil
}

func configuredScripts(file string) (*scripts, error) {
	config, err := document(file, "ConfigMap", "argocd-cm")
	if err != nil {
		return nil, err
	}
	data, _, err := unstructured.NestedStringMap(config.Object, "data")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	found := &scripts{kinds: map[schema.GroupKind]*kindScripts{}}
	for key, value := range data {
		rest, ok := strings.CutPrefix(key, "resource.customizations.")
		if !ok {
			continue
		}
		what, kindName, ok := strings.Cut(rest, ".")
		group, kind, both := strings.Cut(kindName, "_")
		if !ok || !both {
			return nil, fmt.Errorf("%s: key %s is not resource.customizations.WHAT.GROUP_KIND", file, key)
		}
		id := schema.GroupKind{Group: group, Kind: kind}
		if found.kinds[id] == nil {
			found.kinds[id] = &kindScripts{actions: map[string]string{}}
		}
		switch what {
		case "health":
			found.kinds[id].health = value
		case "actions":
			said := struct {
				Discovery   string `json:"discovery.lua"`
				Definitions []struct {
					Name   string `json:"name"`
					Action string `json:"action.lua"`
				} `json:"definitions"`
			}{}
			if err := yaml.UnmarshalStrict([]byte(value), &said); err != nil {
				return nil, fmt.Errorf("%s: key %s: %w", file, key, err)
			}
			found.kinds[id].discovery = said.Discovery
			for _, action := range said.Definitions {
				found.kinds[id].actions[action.Name] = action.Action
			}
		case "ignoreDifferences", "ignoreResourceUpdates", "knownTypeFields", "useOpenLibs":
		default:
			// Argo CD then loads none at all.
			return nil, fmt.Errorf("%s: key %s: Argo CD knows no customization %q", file, key, what)
		}
	}
	return found, nil
}

func text(file string) (string, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("cannot read a script: %w", err)
	}
	return string(content), nil
}

func (s *scripts) of(object *unstructured.Unstructured) *kindScripts {
	return s.kinds[object.GroupVersionKind().GroupKind()]
}

// GetResourceHealth is what gitops-engine asks before its own checks; nil: it knows no script for that kind.
func (s *scripts) GetResourceHealth(object *unstructured.Unstructured) (*health.HealthStatus, error) {
	known := s.of(object)
	if known == nil || known.health == "" {
		return nil, nil
	}
	return healthBy(known.health, object, s.bundled)
}
