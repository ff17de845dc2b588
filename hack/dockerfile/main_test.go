package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const good = `ARG BUILD=example.com/rust:1.0
ARG BASE=example.com/base:nonroot

FROM ${BUILD} AS build
ARG WORD=hello
WORKDIR /src
COPY a.txt b/ ./in/
RUN cat in/a.txt in/c.txt >out && echo "$WORD" >>out

FROM ${BASE}
COPY --from=build /src/out /
USER 65532:65532
ENTRYPOINT ["/out"]
`

func folder(t *testing.T, dockerfile, ignore string) string {
	t.Helper()
	made := t.TempDir()
	for name, text := range map[string]string{
		"Dockerfile": dockerfile, ".dockerignore": ignore, "a.txt": "a\n", "b/c.txt": "c\n", "b/secret": "s\n",
	} {
		file := filepath.Join(made, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return made
}

func tried(t *testing.T, dockerfile, ignore string, values ...string) (string, error) {
	t.Helper()
	from, to := folder(t, dockerfile, ignore), filepath.Join(t.TempDir(), "to")
	return to, run(append([]string{"try", filepath.Join(from, "Dockerfile"), from, to}, values...))
}

func TestWhatIsCopiedIsAllThatALineSees(t *testing.T) {
	to, err := tried(t, good, "*\n!a.txt\n!b/c.txt\n", "WORD=bye")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"build/src/in/b", "build/src/in/secret"} {
		if _, err := os.Stat(filepath.Join(to, name)); err == nil {
			t.Errorf("%s was copied", name)
		}
	}
	if said, _ := os.ReadFile(filepath.Join(to, "out")); string(said) != "a\nc\nbye\n" {
		t.Errorf("the image would hold %q", said)
	}
}

func TestAMissingFileFails(t *testing.T) {
	for name, change := range map[string][2]string{
		"the line needs a file that is not copied": {"COPY a.txt b/ ", "COPY b/ "},
		"the last stage takes what nobody made":    {"--from=build /src/out", "--from=build /src/other"},
		"a file to copy does not exist":            {"a.txt b/", "absent.txt b/"},
		"a command is not understood":              {"ARG WORD=hello", "ENV WORD=hello"},
		"a stage is named that does not exist":     {"--from=build", "--from=other"},
	} {
		if _, err := tried(t, strings.Replace(good, change[0], change[1], 1), ""); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := tried(t, good, "a.txt\n"); err == nil || !strings.Contains(err.Error(), ".dockerignore") {
		t.Errorf("an ignored file was copied: %v", err)
	}
}

func TestLintNamesWhatIsWrong(t *testing.T) {
	judged := func(text string) error {
		return run([]string{"lint", filepath.Join(folder(t, text, ""), "Dockerfile")})
	}
	if err := judged(good); err != nil {
		t.Fatal(err)
	}
	for change, rule := range map[[2]string]string{
		{"USER 65532:65532", "USER root"}:                    "USER",
		{`ENTRYPOINT ["/out"]`, "ENTRYPOINT /out"}:           "ENTRYPOINT",
		{"FROM ${BASE}", "FROM example.com/base:nonroot"}:    "digest",
		{"base:nonroot", "base:latest"}:                      "version",
		{"COPY a.txt", "ADD a.txt"}:                          "COPY",
		{"AS build", "as build"}:                             "FromAsCasing",
		{"ARG WORD=hello", "ARG PASSWORD=hello"}:             "SecretsUsedInArgOrEnv",
		{"COPY --from=build /src/out /", "COPYY /src/out /"}: "COPYY",
	} {
		err := judged(strings.Replace(good, change[0], change[1], 1))
		if err == nil || !strings.Contains(err.Error(), rule) {
			t.Errorf("%q: %v", change[1], err)
		}
	}
}
