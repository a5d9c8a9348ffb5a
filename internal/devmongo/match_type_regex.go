package devmongo

import (
	"regexp"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func compileType(path []string, v any) (predicate, error) {
	list, ok := v.(bson.A)
	if !ok {
		list = bson.A{v}
	}
	want := map[string]bool{}
	for _, t := range list {
		if err := addType(want, t); err != nil {
			return nil, err
		}
	}
	return elements(path, func(v any) bool { return want[typeName(v)] }), nil
}

func addType(want map[string]bool, t any) error {
	code, isCode := number(t)
	found := false
	for _, k := range kinds[1:] {
		if k.name == t || (t == "number" && k.rank == kinds[1].rank) || (isCode && int64(k.code) == code) {
			want[k.name], found = true, true
		}
	}
	if !found {
		return refuse(codeBadValue, "Unknown type name alias or code: %v", t)
	}
	return nil
}

func compileRegexOperator(path []string, v any, siblings bson.D) (predicate, error) {
	options, _ := field(siblings, "$options").(string)
	switch r := v.(type) {
	case string:
		return compileRegex(path, bson.Regex{Pattern: r, Options: options})
	case bson.Regex:
		return compileRegex(path, bson.Regex{Pattern: r.Pattern, Options: r.Options + options})
	}
	return nil, refuse(codeBadValue, "$regex has to be a string")
}

// compileRegex takes what Go's syntax and PCRE have in common.
func compileRegex(path []string, r bson.Regex) (predicate, error) {
	if strings.Trim(r.Options, "ims") != "" {
		return nil, refuse(51108, "invalid flag in regex options: %s", r.Options)
	}
	pattern := r.Pattern
	if r.Options != "" {
		pattern = "(?" + r.Options + ")" + pattern
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, refuse(51091, "Regular expression is invalid: %s", err)
	}
	return elements(path, func(v any) bool {
		s, ok := v.(string)
		return (ok && re.MatchString(s)) || v == any(r)
	}), nil
}
