package main

import (
	"context"
	"flag"
	"io"
	"time"

	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/kubectl/pkg/cmd/wait"
)

type waited struct {
	Met     bool    `json:"met"`
	Message string  `json:"message,omitempty"`
	Seconds float64 `json:"seconds"`
}

// waitCommand is `kubectl wait` on one object.
func waitCommand(flags *flag.FlagSet) func(context.Context) (any, error) {
	config := flags.String("kubeconfig", "", "kubeconfig of the cluster")
	namespace := flags.String("namespace", "", "namespace of the object")
	object := flags.String("object", "", "as in dbapp/sales")
	condition := flags.String("for", "", "as in condition=Ready")
	timeout := flags.Duration("timeout", time.Minute, "how long to wait")
	return func(context.Context) (any, error) {
		getter := genericclioptions.NewConfigFlags(false)
		getter.KubeConfig, getter.Namespace = config, namespace
		streams := genericiooptions.IOStreams{In: nil, Out: io.Discard, ErrOut: io.Discard}
		given := wait.NewWaitFlags(getter, streams)
		given.ForCondition, given.Timeout = []string{*condition}, *timeout
		options, err := given.ToOptions([]string{*object})
		if err != nil {
			return nil, err
		}
		started := time.Now()
		verdict := waited{Met: true}
		if err := options.RunWait(); err != nil {
			verdict.Met, verdict.Message = false, err.Error()
		}
		verdict.Seconds = time.Since(started).Seconds()
		return verdict, nil
	}
}
