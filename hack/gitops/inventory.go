package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// entry is an object of an inventory.
type entry struct {
	schema.GroupVersionKind
	Namespace string
	Name      string
}

func entryOf(object *unstructured.Unstructured) entry {
	return entry{object.GroupVersionKind(), object.GetNamespace(), object.GetName()}
}

func (e entry) object() *unstructured.Unstructured {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(e.GroupVersionKind)
	object.SetNamespace(e.Namespace)
	object.SetName(e.Name)
	return object
}

func (f *flux) file(one kustomization) string {
	return filepath.Join(f.inventory, one.Metadata.Namespace+"."+one.Metadata.Name+".json")
}

func (f *flux) kept(one kustomization) ([]entry, error) {
	content, err := os.ReadFile(f.file(one))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read an inventory: %w", err)
	}
	var entries []entry
	if err := json.Unmarshal(content, &entries); err != nil {
		return nil, fmt.Errorf("cannot parse inventory %s: %w", f.file(one), err)
	}
	return entries, nil
}

// keep writes the new inventory and returns what was in the old one alone.
func (f *flux) keep(one kustomization, objects []*unstructured.Unstructured) ([]*unstructured.Unstructured, error) {
	old, err := f.kept(one)
	if err != nil {
		return nil, err
	}
	wanted, entries := map[entry]bool{}, []entry{}
	for _, object := range objects {
		wanted[entryOf(object)] = true
		entries = append(entries, entryOf(object))
	}
	var stale []*unstructured.Unstructured
	for _, entry := range old {
		if !wanted[entry] {
			stale = append(stale, entry.object())
		}
	}
	content, err := json.Marshal(entries)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(f.file(one), content, 0o600); err != nil {
		return nil, fmt.Errorf("cannot keep an inventory: %w", err)
	}
	return stale, nil
}
