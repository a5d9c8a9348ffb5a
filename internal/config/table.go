package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// section is one table of docs/configuration.md.
type section struct {
	title, intro string
	// flags are listed by name; a name that ends in * matches all flags with
	// that prefix.
	flags []string
}

// sections are the page's tables in its order. Every flag is in exactly one.
var sections = []section{
	{"MongoDB and the collection", "The replica set and the collection that hold the keys.", []string{
		"mongodb-uri", "mongodb-password-file", "database", "collection", "ensure-schema", "stream-scope", "read-preference", "state-database",
	}},
	{"Freshness and cache", "How old an answer may be, and how much is kept in memory.", []string{
		"max-stale", "heartbeat-interval", "cache-size", "preload", "audit-interval",
	}},
	{"Keys and usage", "What keytail assumes about keys, and what it writes about their use.", []string{
		"key-prefix", "default-scopes", "require-binding", "track-usage", "usage-interval", "expiry-notice",
	}},
	{"Listeners and tokens", "Where keytail listens, and who may call. The [listeners](http.md#listeners) are described with the wire contract.", []string{
		"addr", "ops-addr", "admin-addr", "admin-token-file", "admin-audit-reads", "caller-token-file", "grpc-addr", "grpc-reflection", "unix-socket-mode", "max-connections", "trace-caller-networks", "drain-delay",
	}},
	{"Forward-auth", "How keytail reads a check request of a proxy. Policies are set in the file alone, see [below](#policies).", []string{
		"forward-auth", "auth-caller-networks", "key-sources", "trusted-proxies", "auth-headers", "hide-credentials",
	}},
	{"TLS", "One set of files for each listener. keytail reads them again within 2 s of a change.", []string{
		"tls-*", "ops-tls-*", "admin-tls-*", "grpc-tls-*",
	}},
	{"Mapping", "Which field of a key document has which role, and in which form. [Adopt your collection](adopt-your-collection.md) explains each one.", []string{
		"map-*",
	}},
	{"Process", "How the process starts and logs.", []string{
		"config", "log-level", "log-format", "decision-log", "decision-log-accepts", "decision-log-mask", "dev", "dev-mongodb-addr",
	}},
}

// has reports whether the section lists a flag.
func (s *section) has(flag string) bool {
	return slices.ContainsFunc(s.flags, func(name string) bool {
		prefix, all := strings.CutSuffix(name, "*")
		return name == flag || all && strings.HasPrefix(flag, prefix)
	})
}

// Markdown is the generated part of docs/configuration.md: one table for each
// section.
func Markdown() string {
	var b strings.Builder
	for i := range sections {
		s := &sections[i]
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n| flag | environment | key in the file | default | meaning |\n|---|---|---|---|---|\n", s.title, s.intro)
		for _, flag := range modelFlags() {
			if s.has(flag.Name) {
				b.WriteString(row(flag))
			}
		}
	}
	return b.String() + "\n"
}

// row is one flag's line of a table.
func row(flag *kong.Flag) string {
	key := "`" + Key(flag.Name) + "`"
	if flag.Name == "config" {
		key = ""
	}
	return fmt.Sprintf("| `--%s` | `%s` | %s | %s | %s |\n",
		flag.Name, strings.Join(flag.Envs, "`, `"), key, defaultText(flag), strings.ReplaceAll(flag.Help, "|", `\|`))
}

func defaultText(flag *kong.Flag) string {
	switch {
	case flag.IsBool() && flag.Default == "true":
		return "on"
	case flag.HasDefault:
		return "`" + flag.Default + "`"
	case flag.IsBool():
		return "off"
	}
	return ""
}

// modelFlags are the flags of Config in the order of its fields.
func modelFlags() []*kong.Flag { return flagsOf(&Config{}) }
