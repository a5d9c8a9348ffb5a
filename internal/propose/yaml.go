package propose

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// commentWidth is the length of a line of a comment, in bytes.
const commentWidth = 100

// YAML returns the file for --config: the mapping, each role with a comment about
// what it is based on.
func (p *Proposal) YAML() string {
	var f file
	f.comment(fmt.Sprintf("A mapping of %s, proposed by keytail doctor --propose from %s.", p.Collection, p.Basis))
	f.comment("Every line is a guess: read it before you use it. The connection string is not here: set KEYTAIL_MONGODB_URI.")
	f.setting("database", p.Database)
	f.setting("collection", p.Collection)
	var absent []*Role
	for i := range p.Roles {
		if r := &p.Roles[i]; r.Status == Absent {
			absent = append(absent, r)
		} else {
			f.role(r)
		}
	}
	f.absent(absent)
	if len(p.Warnings) > 0 {
		f.b.WriteString("\n")
		f.comment("Warnings:")
		for _, warning := range p.Warnings {
			f.comment("- " + warning + ".")
		}
	}
	return f.b.String()
}

// file is the text of a YAML file.
type file struct{ b strings.Builder }

func (f *file) role(r *Role) {
	f.b.WriteString("\n")
	what := r.Name
	if r.open() {
		what = "TO DO: " + what + " is " + string(r.Status)
	}
	for i, seen := range r.Seen {
		if i == 0 {
			f.comment(what + ": " + seen)
		} else {
			f.indented("  ", seen)
		}
	}
	switch {
	case r.Status == Missing:
		f.comment(r.Key + ": NAME_OF_THE_FIELD")
	default:
		f.setting(r.Key, r.Field)
	}
	for _, form := range r.Forms {
		f.setting(form.Key, form.Value)
	}
}

// absent writes the roles that no field has, in one block.
func (f *file) absent(roles []*Role) {
	if roles == nil {
		return
	}
	f.b.WriteString("\n")
	f.comment("No field was found for these. An empty name means that there is none.")
	for _, r := range roles {
		seen := strings.Join(r.Seen, "; ")
		line := r.Key + `: ""`
		switch {
		case seen == "":
			f.b.WriteString(line + "\n")
		case len(line)+len(seen) < commentWidth:
			f.b.WriteString(line + " # " + seen + "\n")
		default:
			f.comment(seen)
			f.b.WriteString(line + "\n")
		}
	}
}

func (f *file) setting(key, value string) {
	f.b.WriteString(key + ": " + scalar(value) + "\n")
}

// scalar quotes a value that YAML would read as something else than a string.
func scalar(value string) string {
	text, err := yaml.Marshal(value)
	if err != nil { // a string always marshals
		return `""`
	}
	return strings.TrimSuffix(string(text), "\n")
}

// comment writes lines that begin with '#', broken between words.
func (f *file) comment(text string) { f.indented("", text) }

func (f *file) indented(indent, text string) {
	begin := "#" + indent
	line := begin
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > commentWidth && line != begin {
			f.b.WriteString(line + "\n")
			line = begin
		}
		line += " " + word
	}
	f.b.WriteString(line + "\n")
}
