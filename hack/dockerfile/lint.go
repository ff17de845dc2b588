package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	digest "github.com/opencontainers/go-digest"
)

// noImage answers for every base image: nothing is fetched, and no rule asks what is in one.
type noImage struct{}

func (noImage) ResolveImageConfig(_ context.Context, ref string, opt sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	config := map[string]any{"os": "linux", "architecture": "amd64"}
	if opt.ImageOpt != nil && opt.ImageOpt.Platform != nil {
		config["architecture"] = opt.ImageOpt.Platform.Architecture
	}
	data, err := json.Marshal(config)
	return ref, digest.FromBytes(data), data, err
}

func lint(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	source := llb.NewSourceMap(nil, file, "Dockerfile", text)
	// Without it the linter looks for a build that it is part of.
	source.Definition = &llb.Definition{}
	results, err := dockerfile2llb.DockerfileLint(context.Background(), text, dockerfile2llb.ConvertOpt{
		MetaResolver: noImage{},
		SourceMap:    source,
	})
	if err != nil {
		return err
	}
	var found []error
	for _, warning := range results.Warnings {
		line := int32(0)
		if ranges := warning.Location.Ranges; len(ranges) > 0 {
			line = ranges[0].Start.Line
		}
		found = append(found, fmt.Errorf("%s:%d: %s: %s", file, line, warning.RuleName, warning.Detail))
	}
	if results.Error != nil {
		found = append(found, fmt.Errorf("%s: %s", file, results.Error.Message))
	} else {
		found = append(found, house(file, text)...)
	}
	return errors.Join(found...)
}

var tagged = regexp.MustCompile(`:[^/:@]+(@sha256:[0-9a-f]{64})?$`)

// house holds the rules of this project: base images are arguments with a tag that does not move by itself, and what is
// shipped is not root and starts without a shell.
func house(file string, text []byte) []error {
	stages, arguments, err := parse(text)
	if err != nil {
		return []error{fmt.Errorf("%s: %w", file, err)}
	}
	var found []error
	fail := func(line int, format string, values ...any) {
		found = append(found, fmt.Errorf("%s:%d: %s", file, line, fmt.Sprintf(format, values...)))
	}
	names := map[string]bool{}
	for _, stage := range stages {
		base, line := stage.BaseName, stage.Location[0].Start.Line
		if !names[base] {
			name := strings.Trim(base, "${}")
			if image, known := arguments[name]; !known || "${"+name+"}" != base {
				fail(line, "base image %s is no ${ARGUMENT} with a default; a builder has to be able to pin it by digest", base)
			} else if !tagged.MatchString(image) || strings.HasSuffix(image, ":latest") {
				fail(line, "base image %s has no tag that stays: name a version", image)
			}
		}
		names[stage.Name] = true
		for _, command := range stage.Commands {
			if _, is := command.(*instructions.AddCommand); is {
				fail(command.Location()[0].Start.Line, "ADD fetches and unpacks: use COPY")
			}
		}
	}
	last := stages[len(stages)-1]
	user, entry := "", false
	for _, command := range last.Commands {
		switch command := command.(type) {
		case *instructions.UserCommand:
			user = command.User
		case *instructions.EntrypointCommand:
			entry = !command.PrependShell
		case *instructions.RunCommand:
			fail(command.Location()[0].Start.Line, "RUN in the last stage, whose image has no shell")
		}
	}
	line := last.Location[0].Start.Line
	if !regexp.MustCompile(`^[1-9][0-9]*(:[1-9][0-9]*)?$`).MatchString(user) {
		fail(line, "USER of the last stage is %q: give a number other than 0, which runAsNonRoot can judge", user)
	}
	if !entry {
		fail(line, "the last stage has no ENTRYPOINT in JSON form")
	}
	return found
}

// parse gives the stages and the defaults of the arguments before the first one.
func parse(text []byte) ([]instructions.Stage, map[string]string, error) {
	parsed, err := parser.Parse(bytes.NewReader(text))
	if err != nil {
		return nil, nil, err
	}
	stages, commands, err := instructions.Parse(parsed.AST, nil)
	if err != nil {
		return nil, nil, err
	}
	if len(stages) == 0 {
		return nil, nil, errors.New("no stage")
	}
	arguments := map[string]string{}
	for _, command := range commands {
		for _, argument := range command.Args {
			if argument.Value != nil {
				arguments[argument.Key] = *argument.Value
			}
		}
	}
	return stages, arguments, nil
}
