package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// Setting is one setting for people, without its secrets.
type Setting struct {
	// Name is that of the flag, without dashes.
	Name string
	// Value is its value. For one that could have a secret: whether it is set.
	Value string
	// Given: the command line, the environment or the file sets it.
	Given bool
}

// openTexts are the flags whose value is any text and may be shown: names, forms,
// addresses, and paths of files, not their contents. Numbers, times and switches are
// always shown. Every other text is hidden, so that a new flag shows nothing by mistake;
// of --mongodb-uri describeURI shows a part.
var openTexts = []string{
	"database", "collection", "stream-scope", "read-preference", "state-database", "mongodb-password-file",
	"preload", "key-prefix", "default-scopes",
	"addr", "ops-addr", "admin-addr", "grpc-addr", "unix-socket-mode", "admin-token-file", "caller-token-file",
	"auth-caller-networks", "auth-headers", "trace-caller-networks", "key-sources", "trusted-proxies",
	"tls-*", "ops-tls-*", "admin-tls-*", "grpc-tls-*", "map-*",
	"config", "log-level", "log-format", "decision-log", "decision-log-mask", "dev-mongodb-addr",
}

// Settings are all settings in the order of the flags, and then the names of the
// policies.
func (c *Config) Settings(given Given) []Setting {
	var all []Setting
	for _, flag := range flagsOf(c) {
		all = append(all, Setting{Name: flag.Name, Value: shown(flag), Given: given[flag.Name]})
	}
	names := make([]string, 0, len(c.Policies))
	for name := range c.Policies {
		names = append(names, name)
	}
	slices.Sort(names)
	return append(all, Setting{Name: "policies", Value: strings.Join(names, ", "), Given: len(names) > 0})
}

// flagsOf are the flags of Config in the order of its fields, with the values of c.
func flagsOf(c *Config) []*kong.Flag {
	grammar := struct {
		Config `embed:""`
	}{*c}
	parser, err := NewParser(&grammar, kong.NoDefaultHelp())
	if err != nil {
		panic(fmt.Sprintf("config: %v", err)) // a malformed struct tag, which every test of this package would meet
	}
	return parser.kong.Model.Flags
}

func shown(flag *kong.Flag) string {
	value := flag.Target
	text := fmt.Sprint(value.Interface())
	if list, isList := value.Interface().([]string); isList {
		text = strings.Join(list, ", ")
	}
	switch {
	case flag.Name == "mongodb-uri":
		return describeURI(text)
	case isText(value) && text != "" && !(&section{flags: openTexts}).has(flag.Name):
		return "set"
	}
	return text
}

func isText(v reflect.Value) bool { return v.Kind() == reflect.String || v.Kind() == reflect.Slice }
