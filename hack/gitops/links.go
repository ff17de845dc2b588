package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"text/template"

	"github.com/expr-lang/expr"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// link is an entry of resource.links in argocd-cm.
type link struct {
	URL         string  `json:"url"`
	Title       string  `json:"title"`
	Description string  `json:"description"`
	IconClass   string  `json:"icon.class"`
	Condition   *string `json:"if"`
}

type shownLink struct {
	Title string `json:"title"`
	URL   string `json:"url"`
}

// linksCommand prints the links that Argo CD shows on each object. After EvaluateDeepLinksResponse of Argo CD's server: a
// link whose URL or condition cannot be evaluated is left out.
func linksCommand(flags *flag.FlagSet) func(context.Context) (any, error) {
	file := flags.String("argocd-cm", "", "a file with the ConfigMap argocd-cm")
	return func(context.Context) (any, error) {
		config, err := document(*file, "ConfigMap", "argocd-cm")
		if err != nil {
			return nil, err
		}
		data, _, err := unstructured.NestedStringMap(config.Object, "data")
		if err != nil {
			return nil, fmt.Errorf("%s: %w", *file, err)
		}
		var links []link
		if err := yaml.UnmarshalStrict([]byte(data["resource.links"]), &links); err != nil {
			return nil, fmt.Errorf("%s: resource.links: %w", *file, err)
		}
		return ofEach(func(object *unstructured.Unstructured) ([]shownLink, error) {
			shown := []shownLink{}
			for _, link := range links {
				if url, ok := link.on(map[string]any{"resource": object.Object}); ok {
					shown = append(shown, shownLink{link.Title, url})
				}
			}
			return shown, nil
		})
	}
}

func (l link) on(facts map[string]any) (string, bool) {
	parsed, err := template.New("link").Parse(l.URL)
	if err != nil {
		return "", false
	}
	url := bytes.Buffer{}
	if err := parsed.Execute(&url, facts); err != nil {
		return "", false
	}
	if l.Condition == nil {
		return url.String(), true
	}
	said, err := expr.Eval(*l.Condition, facts)
	wanted, ok := said.(bool)
	return url.String(), err == nil && ok && wanted
}
