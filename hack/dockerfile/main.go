// Command dockerfile judges and tries a Dockerfile without a container engine, with BuildKit's own parser, linter and
// matcher of .dockerignore.
//
//	dockerfile lint FILE               the checks of `docker build --check`, and what this project asks of an image beyond them
//	dockerfile try FILE CONTEXT FOLDER [NAME=VALUE…]
//	                                   empties FOLDER, copies into it what the stages that build copy out of CONTEXT, runs
//	                                   their RUN lines there, and looks for what the last stage takes from them
//
// Trying proves that what is copied suffices and that the lines do what they should on this machine. It proves nothing of
// the base images, nor of another architecture.
package main

import (
	"fmt"
	"os"
	"strings"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 2 && args[0] == "lint":
		return lint(args[1])
	case len(args) >= 4 && args[0] == "try":
		values := map[string]string{}
		for _, pair := range args[4:] {
			name, value, ok := strings.Cut(pair, "=")
			if !ok {
				return fmt.Errorf("build argument %q is not NAME=VALUE", pair)
			}
			values[name] = value
		}
		return try(args[1], args[2], args[3], values)
	default:
		return fmt.Errorf("usage: dockerfile lint FILE | dockerfile try FILE CONTEXT FOLDER [NAME=VALUE…]")
	}
}
