package config

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"
)

// Completing reports whether a shell requests completions instead of running the program. The
// protocol is that of bash's `complete -C`: the command line is in COMP_LINE, the position of the
// cursor in COMP_POINT, and the program prints one candidate a line.
func Completing() bool { return os.Getenv("COMP_LINE") != "" }

// Complete prints the candidates to the standard output that kong was given. The
// completion libraries for kong depend on packages without a release for years, and
// kong's model has all that is needed.
func (p *Parser) Complete() {
	line := os.Getenv("COMP_LINE")
	if point, err := strconv.Atoi(os.Getenv("COMP_POINT")); err == nil && 0 <= point && point < len(line) {
		line = line[:point]
	}
	for _, candidate := range candidates(p.kong.Model.Node, line) {
		_, _ = fmt.Fprintln(p.kong.Stdout, candidate)
	}
}

// candidates are the words that can take the place of the last word of the line.
func candidates(root *kong.Node, line string) []string {
	words := strings.Fields(line)
	last := ""
	if len(words) > 1 && !strings.HasSuffix(line, " ") {
		last = words[len(words)-1]
		words = words[:len(words)-1]
	}
	position := commandPosition{node: root}
	if len(words) > 0 {
		for _, word := range words[1:] { // the first word is the program
			position.read(word)
		}
	}
	return position.candidates(last)
}

// commandPosition is where in a command line the words so far have led.
type commandPosition struct {
	node *kong.Node
	// flag is the flag whose value comes next, nil if the last word was none.
	flag *kong.Flag
	// arguments is the number of positional arguments read.
	arguments int
}

func (p *commandPosition) read(word string) {
	switch {
	case p.flag != nil:
		p.flag = nil
	case strings.HasPrefix(word, "-"):
		name, _, hasValue := strings.Cut(word, "=")
		if flag := p.flagNamed(name); flag != nil && !hasValue && !flag.IsBool() {
			p.flag = flag
		}
	default:
		if child := p.child(word); child != nil {
			p.node, p.arguments = child, 0
			return
		}
		p.arguments++
	}
}

func (p *commandPosition) child(name string) *kong.Node {
	i := slices.IndexFunc(p.node.Children, func(n *kong.Node) bool { return n.Name == name })
	if i < 0 {
		return nil
	}
	return p.node.Children[i]
}

// flagNamed finds a flag by its name with the dashes: of the command, or of those that it
// is part of.
func (p *commandPosition) flagNamed(name string) *kong.Flag {
	for _, flags := range p.node.AllFlags(false) {
		for _, flag := range flags {
			if "--"+flag.Name == name || flag.Short != 0 && "-"+string(flag.Short) == name {
				return flag
			}
		}
	}
	return nil
}

func (p *commandPosition) candidates(prefix string) []string {
	if p.flag != nil {
		return withPrefix(p.flag.EnumSlice(), prefix)
	}
	if name, value, found := strings.Cut(prefix, "="); found && strings.HasPrefix(name, "-") {
		flag := p.flagNamed(name)
		if flag == nil {
			return nil
		}
		// The shell breaks words at the equals sign: only what follows it is replaced.
		return withPrefix(flag.EnumSlice(), value)
	}
	if strings.HasPrefix(prefix, "-") {
		return withPrefix(p.flagNames(), prefix)
	}
	var names []string
	for _, child := range p.node.Children {
		if !child.Hidden {
			names = append(names, child.Name)
		}
	}
	if p.arguments < len(p.node.Positional) {
		names = append(names, p.node.Positional[p.arguments].EnumSlice()...)
	}
	return withPrefix(names, prefix)
}

func (p *commandPosition) flagNames() []string {
	var names []string
	for _, flags := range p.node.AllFlags(true) {
		for _, flag := range flags {
			names = append(names, "--"+flag.Name)
		}
	}
	return names
}

// withPrefix returns the words that begin with the prefix, sorted and each once.
func withPrefix(words []string, prefix string) []string {
	var matching []string
	for _, word := range words {
		if word != "" && strings.HasPrefix(word, prefix) {
			matching = append(matching, word)
		}
	}
	slices.Sort(matching)
	return slices.Compact(matching)
}
