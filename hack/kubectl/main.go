// Command kubectl is Kubernetes' own, linked from its Go module, for machines that have none: tests run the commands of the
// documentation with it.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
)

func main() {
	command := cmd.NewDefaultKubectlCommand()
	if err := cli.RunNoErrOutput(command); err != nil {
		// Prints the error as kubectl does, and exits.
		util.CheckErr(err)
		os.Exit(1)
	}
}
