package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// stage is one that builds: its files lie under root, its commands run in root/dir.
type stage struct {
	root    string
	dir     string
	environ []string
}

func try(file, context, folder string, values map[string]string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	stages, _, err := parse(text)
	if err != nil {
		return err
	}
	ignored, err := ignores(context)
	if err != nil {
		return err
	}
	if folder, err = filepath.Abs(folder); err != nil {
		return err
	}
	if err := os.RemoveAll(folder); err != nil {
		return err
	}
	made := map[string]*stage{}
	for i, from := range stages {
		here := &stage{root: filepath.Join(folder, from.Name), dir: "/", environ: os.Environ()}
		made[from.Name] = here
		last := i == len(stages)-1
		for _, command := range from.Commands {
			if last {
				err = here.take(command, context, ignored, made)
			} else {
				err = here.do(command, context, ignored, values)
			}
			if err != nil {
				return fmt.Errorf("%s:%d: %w", file, command.Location()[0].Start.Line, err)
			}
		}
	}
	return nil
}

// do carries out a command of a stage that builds; one that it does not know is an error rather than passed over.
func (s *stage) do(command instructions.Command, context string, ignored *patternmatcher.PatternMatcher, values map[string]string) error {
	switch command := command.(type) {
	case *instructions.ArgCommand:
		for _, argument := range command.Args {
			if value, given := values[argument.Key]; given {
				s.environ = append(s.environ, argument.Key+"="+value)
			} else if argument.Value != nil {
				s.environ = append(s.environ, argument.Key+"="+*argument.Value)
			}
		}
		return nil
	case *instructions.WorkdirCommand:
		s.dir = path.Join(s.dir, command.Path)
		if path.IsAbs(command.Path) {
			s.dir = command.Path
		}
		return os.MkdirAll(filepath.Join(s.root, s.dir), 0o755)
	case *instructions.CopyCommand:
		if command.From != "" {
			return fmt.Errorf("COPY --from=%s in a stage that builds is not understood", command.From)
		}
		return s.copy(command, context, ignored)
	case *instructions.RunCommand:
		if !command.PrependShell || len(command.FlagsUsed) > 0 || len(command.Files) > 0 {
			return errors.New("RUN with flags, here-documents or in JSON form is not understood")
		}
		line := strings.Join(command.CmdLine, " ")
		fmt.Println("RUN", line)
		shell := exec.Command("/bin/sh", "-c", line)
		shell.Dir, shell.Env = filepath.Join(s.root, s.dir), s.environ
		shell.Stdout, shell.Stderr = os.Stdout, os.Stderr
		if err := shell.Run(); err != nil {
			return fmt.Errorf("RUN %s: %w", line, err)
		}
		return nil
	default:
		return fmt.Errorf("%s in a stage that builds is not understood", command.Name())
	}
}

// take looks for what the last stage copies, and runs nothing.
func (s *stage) take(command instructions.Command, context string, ignored *patternmatcher.PatternMatcher, made map[string]*stage) error {
	taken, is := command.(*instructions.CopyCommand)
	if !is {
		return nil
	}
	if taken.From == "" {
		return s.copy(taken, context, ignored)
	}
	from, known := made[taken.From]
	if !known {
		return fmt.Errorf("COPY --from=%s names no stage before this one", taken.From)
	}
	return s.copy(taken, from.root, nil)
}

func (s *stage) copy(command *instructions.CopyCommand, from string, ignored *patternmatcher.PatternMatcher) error {
	if command.Chown != "" || command.Chmod != "" || command.Link || command.Parents || len(command.ExcludePatterns) > 0 || len(command.SourceContents) > 0 {
		return errors.New("COPY with flags or here-documents is not understood")
	}
	target := command.DestPath
	if !path.IsAbs(target) {
		target = path.Join(s.dir, target)
	}
	into := strings.HasSuffix(command.DestPath, "/") || len(command.SourcePaths) > 1
	for _, source := range command.SourcePaths {
		if strings.ContainsAny(source, "*?[") {
			return fmt.Errorf("COPY %s: patterns are not understood", source)
		}
		whole := filepath.Join(from, source)
		info, err := os.Stat(whole)
		if err != nil {
			return fmt.Errorf("COPY %s: %w", source, err)
		}
		to := filepath.Join(s.root, target)
		// What is in a folder goes into the target, a file under its own name if the target is a folder.
		if !info.IsDir() && into {
			to = filepath.Join(to, filepath.Base(source))
		}
		count, err := copyAll(from, filepath.Clean(source), to, ignored)
		if err != nil {
			return fmt.Errorf("COPY %s: %w", source, err)
		}
		if count == 0 {
			return fmt.Errorf("COPY %s: .dockerignore leaves nothing of it", source)
		}
	}
	return nil
}

// copyAll copies regular files with their modes and times, and says how many.
func copyAll(from, source, to string, ignored *patternmatcher.PatternMatcher) (int, error) {
	count := 0
	base := filepath.Join(from, source)
	err := filepath.WalkDir(base, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(from, file)
		if err != nil {
			return err
		}
		if ignored != nil {
			if skip, err := ignored.MatchesOrParentMatches(name); err != nil || skip {
				return err
			}
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is no regular file", name)
		}
		below, err := filepath.Rel(base, file)
		if err != nil {
			return err
		}
		target := filepath.Join(to, below)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := os.WriteFile(target, data, info.Mode().Perm()); err != nil {
			return err
		}
		count++
		return os.Chtimes(target, info.ModTime(), info.ModTime())
	})
	return count, err
}

func ignores(context string) (*patternmatcher.PatternMatcher, error) {
	file, err := os.Open(filepath.Join(context, ".dockerignore"))
	if errors.Is(err, fs.ErrNotExist) {
		return patternmatcher.New(nil)
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	patterns, err := ignorefile.ReadAll(file)
	if err != nil {
		return nil, err
	}
	return patternmatcher.New(patterns)
}
