package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"

	"github.com/keytail/keytail/internal/secretfile"
)

// Key is a flag's name in the YAML file: max_stale for --max-stale.
func Key(flag string) string { return strings.ReplaceAll(flag, "-", "_") }

// file is the content of a YAML file, as a resolver for kong.
type file struct {
	// values maps the name of a flag to its text, as on the command line.
	values map[string]string
	// policies is the one setting that is not a flag.
	policies map[string]Policy
}

// Validate implements kong.Resolver: the file was checked when it was read.
func (f *file) Validate(*kong.Application) error { return nil }

// Resolve implements kong.Resolver. kong would let a resolver override the
// environment, so it does not answer for a flag that the environment sets.
func (f *file) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	text, found := f.values[flag.Name]
	if !found || isEnvSet(flag) {
		return nil, nil
	}
	return text, nil
}

func isEnvSet(flag *kong.Flag) bool {
	return slices.ContainsFunc(flag.Envs, func(name string) bool {
		_, set := os.LookupEnv(name)
		return set
	})
}

// readFile reads a YAML file whose keys are those of flags. The error has every
// mistake with its line. The file has the valid settings even then, so that they
// can be checked further.
func readFile(path string, flags []*kong.Flag) (*file, error) {
	content, shared, err := secretfile.ReadShared(path)
	if err != nil {
		return &file{}, fmt.Errorf("the file of --config cannot be read: %w", err)
	}
	root, err := rootMapping(content)
	if err != nil {
		return &file{}, fmt.Errorf("%s: %w", path, err)
	}
	r := &fileReader{path: path, flags: byKey(flags), lines: map[string]int{}, values: map[string]string{}}
	if root != nil {
		for i := 0; i+1 < len(root.Content); i += 2 {
			r.entry(root.Content[i], root.Content[i+1])
		}
	}
	if shared && hasPassword(r.values["mongodb-uri"]) {
		r.problem(r.lines["mongodb_uri"], "mongodb_uri has a password, and every user of this machine has access to the file: chmod o-rwx it, or move the password to a file of its own (mongodb_password_file)")
	}
	return &file{values: r.values, policies: r.policies}, errors.Join(r.problems...)
}

// byKey maps a key of the file to its flag. --config and --help have no key.
func byKey(flags []*kong.Flag) map[string]*kong.Flag {
	keys := map[string]*kong.Flag{}
	for _, flag := range flags {
		if flag.Name != "config" && flag.Name != "help" {
			keys[Key(flag.Name)] = flag
		}
	}
	return keys
}

// rootMapping is the only mapping of the file, or nil for an empty file. Errors
// of the YAML parser name a line and quote nothing.
func rootMapping(content []byte) (*yaml.Node, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	var document, more yaml.Node
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, yamlError(err)
	}
	if err := decoder.Decode(&more); err == nil {
		return nil, fmt.Errorf("line %d: a second YAML document begins; only one is allowed", more.Line)
	} else if !errors.Is(err, io.EOF) {
		return nil, yamlError(err)
	}
	root := document.Content[0]
	switch {
	case root.Kind == yaml.MappingNode:
		return root, nil
	case root.Tag == "!!null":
		return nil, nil
	}
	return nil, fmt.Errorf("line %d: the file must be a mapping of settings, such as \"max_stale: 15s\"", root.Line)
}

func yamlError(err error) error {
	return fmt.Errorf("this is not YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
}

// fileReader reads the mapping and collects mistakes.
type fileReader struct {
	path  string
	flags map[string]*kong.Flag
	// lines maps a key to the line in which it was first seen.
	lines map[string]int
	// values maps a flag's name to its text.
	values map[string]string
	// policies is filled by the key of that name.
	policies map[string]Policy
	problems []error
}

func (r *fileReader) problem(line int, format string, args ...any) {
	sentence := Redact(fmt.Sprintf(format, args...))
	r.problems = append(r.problems, fmt.Errorf("%s, line %d: %s", r.path, line, sentence))
}

func (r *fileReader) entry(key, value *yaml.Node) {
	if key.Kind != yaml.ScalarNode {
		r.problem(key.Line, "a key must be plain text")
		return
	}
	flag, known := r.flags[key.Value]
	if !known && key.Value != policiesKey {
		r.problem(key.Line, "unknown key %q%s", key.Value, r.suggestion(key.Value))
		return
	}
	if first, again := r.lines[key.Value]; again {
		r.problem(key.Line, "the key %q is repeated; it is already in line %d", key.Value, first)
		return
	}
	r.lines[key.Value] = key.Line
	if key.Value == policiesKey {
		r.readPolicies(value)
		return
	}
	text, err := textOf(flag, value)
	if err != nil {
		r.problem(value.Line, "%s %v", key.Value, err)
		return
	}
	r.values[flag.Name] = text
}

// suggestion helps if the key is written like its flag or environment variable.
func (r *fileReader) suggestion(key string) string {
	name := strings.TrimPrefix(strings.ToLower(Key(strings.TrimLeft(key, "-"))), "keytail_")
	if _, known := r.flags[name]; known {
		return fmt.Sprintf("; the key is %q", name)
	}
	return ""
}

// textOf is the value as on the command line.
func textOf(flag *kong.Flag, value *yaml.Node) (string, error) {
	if flag.Target.Kind() == reflect.Slice {
		return listText(value)
	}
	if value.Kind != yaml.ScalarNode {
		return "", fmt.Errorf("must be %s, not a list, mapping or alias", kindName(flag))
	}
	if want := tagOf(flag); value.Tag != want && (want != "!!float" || value.Tag != "!!int") {
		return "", fmt.Errorf("must be %s%s", kindName(flag), quoteHint(want, value.Tag))
	}
	if err := check(flag.Target.Type(), value.Value); err != nil {
		return "", err
	}
	return value.Value, nil
}

// listText joins a list with commas, as on the command line.
func listText(list *yaml.Node) (string, error) {
	if list.Kind != yaml.SequenceNode {
		return "", errors.New("must be a list of strings, such as [a, b]")
	}
	items := make([]string, len(list.Content))
	for i, item := range list.Content {
		if item.Kind != yaml.ScalarNode || item.Tag != "!!str" || strings.Contains(item.Value, ",") {
			return "", fmt.Errorf("must be a list of strings without commas; item %d is not", i+1)
		}
		items[i] = item.Value
	}
	return strings.Join(items, ","), nil
}

// tagOf is the YAML type of a flag's value. A duration is a string with its unit:
// a number would leave the unit unclear.
func tagOf(flag *kong.Flag) string {
	switch kind := flag.Target.Kind(); {
	case flag.Target.Type() == reflect.TypeFor[time.Duration]():
		return "!!str"
	case kind == reflect.Bool:
		return "!!bool"
	case kind == reflect.Int:
		return "!!int"
	case kind == reflect.Float64:
		return "!!float"
	}
	return "!!str"
}

func kindName(flag *kong.Flag) string {
	switch kind := flag.Target.Kind(); {
	case flag.Target.Type() == reflect.TypeFor[time.Duration]():
		return "a duration with its unit, such as 15s"
	case kind == reflect.Bool:
		return "true or false"
	case kind == reflect.Int:
		return "a whole number"
	case kind == reflect.Float64:
		return "a number, such as 0.01"
	}
	return "a string"
}

// quoteHint is for strings that YAML reads as another type.
func quoteHint(want, have string) string {
	switch {
	case have == "!!null":
		return "; it has no value"
	case want == "!!str":
		return "; put it in quotes"
	}
	return ""
}
