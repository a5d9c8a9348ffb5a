package config

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

// Table is the configuration as a Markdown table, for the documentation.
func Table() string {
	var b strings.Builder
	b.WriteString("| flag | environment | key in the file | default | meaning |\n|---|---|---|---|---|\n")
	for _, flag := range modelFlags() {
		key := "`" + Key(flag.Name) + "`"
		if flag.Name == "config" {
			key = ""
		}
		fmt.Fprintf(&b, "| `--%s` | `%s` | %s | %s | %s |\n",
			flag.Name, strings.Join(flag.Envs, "`, `"), key, defaultText(flag), strings.ReplaceAll(flag.Help, "|", `\|`))
	}
	return b.String()
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

// modelFlags are the flags of Config in the order of its fields. A Config whose
// tags kong cannot read is a programming error, which every test finds.
func modelFlags() []*kong.Flag {
	var grammar struct {
		Config `embed:""`
	}
	parser, err := NewParser(&grammar, kong.NoDefaultHelp())
	if err != nil {
		panic(fmt.Sprintf("config: %v", err))
	}
	return parser.kong.Model.Flags
}
