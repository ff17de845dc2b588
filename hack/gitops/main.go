// Command gitops judges, compares, syncs and prunes Kubernetes objects with the libraries that Argo CD and Flux do it
// with: Argo CD's gitops-engine and its restricted Lua, Flux's kstatus, kustomize and server-side-apply packages.
//
//	gitops COMMAND [flags]
//
// It exists for the tests of tests/all/gitops.rs, which build it once a machine and drive it against a real API server.
// What Argo CD and Flux keep in their own programs (the loop around a sync, the order of a deletion, options of an
// apply) is imitated here, and each place says after what.
//
// Every command prints one JSON document. Exit code 1 and a line on standard error: it could not do its work; a verdict,
// however bad, is no failure.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sort"
	"strings"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// command does its work as its flags say and returns what is printed.
type command struct {
	help  string
	setup func(*flag.FlagSet) func(context.Context) (any, error)
}

var commands = map[string]command{
	"judge":          {"health (Argo CD) and status (Flux) of the objects on standard input", judgeCommand},
	"actions":        {"the actions that Argo CD offers for each object on standard input", actionsCommand},
	"kubectl-wait":   {"wait for a condition of an object, as `kubectl wait` does", waitCommand},
	"links":          {"the links that Argo CD shows on each object on standard input", linksCommand},
	"act":            {"run an action on an object of the cluster, as argocd-server does", actCommand},
	"customizations": {"the tests of a folder resource_customizations, as Argo CD's own suite runs them", suiteCommand},
	"print":          {"the objects on standard input as `kubectl get -o yaml` prints them", printCommand},
	"argo-status":    {"compare an Application with the cluster: sync status and health", argoStatusCommand},
	"argo-sync":      {"sync an Application to its end", argoSyncCommand},
	"argo-delete":    {"delete what an Application holds, as its resources finalizer does", argoDeleteCommand},
	"argo-tree":      {"the resource tree of an Application, with health", argoTreeCommand},
	"flux-reconcile": {"apply, prune and wait for Kustomizations in the order of their dependencies", fluxReconcileCommand},
	"flux-delete":    {"what deleting Kustomizations does", fluxDeleteCommand},
}

func main() {
	// The libraries log what they do; only verdicts are wanted.
	klog.SetLogger(logr.Discard())
	log.SetLogger(logr.Discard())
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) == 0 {
		return usage()
	}
	chosen, ok := commands[arguments[0]]
	if !ok {
		return usage()
	}
	flags := flag.NewFlagSet(arguments[0], flag.ContinueOnError)
	work := chosen.setup(flags)
	if err := flags.Parse(arguments[1:]); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%s takes no argument %q", arguments[0], flags.Arg(0))
	}
	verdict, err := work(context.Background())
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(verdict)
}

func usage() error {
	var lines []string
	for name, command := range commands {
		lines = append(lines, fmt.Sprintf("  %-15s %s", name, command.help))
	}
	sort.Strings(lines)
	return fmt.Errorf("usage: gitops COMMAND [flags]; `gitops COMMAND -h` lists the flags\n%s", strings.Join(lines, "\n"))
}

// words is a flag that may be repeated.
type words []string

func (w *words) String() string { return strings.Join(*w, ",") }

func (w *words) Set(word string) error {
	*w = append(*w, word)
	return nil
}
