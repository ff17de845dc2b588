package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/argoproj/argo-cd/gitops-engine/pkg/diff"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/health"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// As health_test.yaml and action_test.yaml of Argo CD's sources.
type (
	healthTests struct {
		Tests []struct {
			InputPath    string              `json:"inputPath"`
			HealthStatus health.HealthStatus `json:"healthStatus"`
		} `json:"tests"`
	}
	actionTests struct {
		DiscoveryTests []struct {
			InputPath string   `json:"inputPath"`
			Result    []action `json:"result"`
		} `json:"discoveryTests"`
		ActionTests []struct {
			Action             string `json:"action"`
			InputPath          string `json:"inputPath"`
			ExpectedOutputPath string `json:"expectedOutputPath"`
		} `json:"actionTests"`
	}
)

type testResult struct {
	Test    string `json:"test"`
	Failure string `json:"failure,omitempty"`
}

// suiteCommand is the tests of Argo CD's util/lua over a folder resource_customizations, once with the libraries that a
// bundled script has and once with those of argocd-cm.
func suiteCommand(flags *flag.FlagSet) func(context.Context) (any, error) {
	folder := flags.String("customizations", "", "a folder as resource_customizations of Argo CD's sources")
	return func(context.Context) (any, error) {
		known, err := bundledScripts(*folder)
		if err != nil {
			return nil, err
		}
		var results []testResult
		for kind := range known.kinds {
			place := filepath.Join(*folder, kind.Group, kind.Kind)
			for _, tests := range []func(*scripts, string) ([]testResult, error){healthSuite, actionSuite} {
				ran, err := tests(known, place)
				if err != nil {
					return nil, err
				}
				results = append(results, ran...)
			}
		}
		return results, nil
	}
}

func healthSuite(known *scripts, place string) ([]testResult, error) {
	var suite healthTests
	if err := read(filepath.Join(place, "health_test.yaml"), &suite); err != nil {
		return nil, err
	}
	var results []testResult
	for _, test := range suite.Tests {
		object, err := only(filepath.Join(place, test.InputPath))
		if err != nil {
			return nil, err
		}
		for _, libraries := range []bool{true, false} {
			said, err := healthBy(known.of(object).health, object, libraries)
			title := fmt.Sprintf("%s/%s, all libraries: %t", object.GetKind(), test.InputPath, libraries)
			switch {
			case err != nil:
				results = append(results, testResult{title, err.Error()})
			case *said != test.HealthStatus:
				results = append(results, testResult{title, fmt.Sprintf("%+v, not %+v", *said, test.HealthStatus)})
			default:
				results = append(results, testResult{Test: title})
			}
		}
	}
	return results, nil
}

func actionSuite(known *scripts, place string) ([]testResult, error) {
	place = filepath.Join(place, "actions")
	var suite actionTests
	if err := read(filepath.Join(place, "action_test.yaml"), &suite); err != nil {
		return nil, err
	}
	var results []testResult
	add := func(title string, err error) {
		result := testResult{Test: title}
		if err != nil {
			result.Failure = err.Error()
		}
		results = append(results, result)
	}
	for _, test := range suite.DiscoveryTests {
		object, err := only(filepath.Join(place, test.InputPath))
		if err != nil {
			return nil, err
		}
		add(fmt.Sprintf("%s/discovery/%s", object.GetKind(), test.InputPath), discovers(known, object, test.Result))
	}
	for _, test := range suite.ActionTests {
		object, err := only(filepath.Join(place, test.InputPath))
		if err != nil {
			return nil, err
		}
		wanted, err := only(filepath.Join(place, test.ExpectedOutputPath))
		if err != nil {
			return nil, err
		}
		title := fmt.Sprintf("%s/%s/%s", object.GetKind(), test.Action, test.InputPath)
		add(title, becomes(known, object, wanted, test.Action))
	}
	return results, nil
}

// discovers holds more than Argo CD's suite asks for: no expected action may be missing either.
func discovers(known *scripts, object *unstructured.Unstructured, wanted []action) error {
	found, err := discover(known.of(object).discovery, object)
	if err != nil {
		return err
	}
	if len(found) != len(wanted) {
		return fmt.Errorf("%+v, not %+v", found, wanted)
	}
	for _, offered := range found {
		if !contains(wanted, offered) {
			return fmt.Errorf("%+v is not in %+v", offered, wanted)
		}
	}
	return nil
}

func contains(actions []action, wanted action) bool {
	for _, action := range actions {
		if action == wanted {
			return true
		}
	}
	return false
}

func becomes(known *scripts, object, wanted *unstructured.Unstructured, action string) error {
	script := known.of(object).actions[action]
	if script == "" {
		return errors.New("there is no such action")
	}
	after, err := changed(script, object)
	if err != nil {
		return err
	}
	compared, err := diff.Diff(wanted, after, diff.WithNormalizer(timeless{}))
	if err != nil {
		return err
	}
	if compared.Modified {
		return fmt.Errorf("%s, not %s", compared.NormalizedLive, compared.PredictedLive)
	}
	return nil
}

// timeless makes the present of a run comparable, as testNormalizer of Argo CD's suite has to for this group.
type timeless struct{}

func (timeless) Normalize(object *unstructured.Unstructured) error {
	annotations := object.GetAnnotations()
	for key := range annotations {
		if strings.HasSuffix(key, "-requested-at") || strings.HasSuffix(key, "/resume-rollout") {
			annotations[key] = "0001-01-01T00:00:00Z"
		}
	}
	if annotations != nil {
		object.SetAnnotations(annotations)
	}
	return nil
}

func read(file string, into any) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("cannot read the tests: %w", err)
	}
	if err := yaml.UnmarshalStrict(content, into); err != nil {
		return fmt.Errorf("cannot parse %s: %w", file, err)
	}
	return nil
}

func only(file string) (*unstructured.Unstructured, error) {
	objects, err := files(file, func(string) bool { return true })
	if err != nil {
		return nil, err
	}
	if len(objects) != 1 {
		return nil, fmt.Errorf("%s holds %d objects, not one", file, len(objects))
	}
	return objects[0], nil
}
