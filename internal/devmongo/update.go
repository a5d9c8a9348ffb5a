package devmongo

import (
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// updater computes the new document. The description is nil when the document is
// replaced as a whole.
type updater func(d bson.D) (bson.D, *description, error)

// compileUpdate compiles the three forms of an update: operators, a pipeline, or a
// replacement document.
func compileUpdate(u any, now bson.DateTime) (up updater, replaces bool, err error) {
	switch x := u.(type) {
	case bson.A:
		up, err = compilePipelineUpdate(x)
		return up, false, err
	case bson.D:
		if _, ok := isOperators(x); ok {
			up, err = compileModifiers(x, now)
			return up, false, err
		}
		return replacement(x), true, nil
	}
	return nil, false, refuse(codeFailedToParse, "Update argument must be either an object or an array")
}

func replacement(next bson.D) updater {
	return func(d bson.D) (bson.D, *description, error) {
		for _, e := range next {
			if strings.HasPrefix(e.Key, "$") {
				return nil, nil, refuse(codeDollarPrefixed, "The dollar ($) prefixed field '%s' in '%s' is not allowed in the context of an update's replacement document.", e.Key, e.Key)
			}
		}
		if isMissing(field(next, "_id")) && !isMissing(field(d, "_id")) {
			return append(bson.D{{Key: "_id", Value: field(d, "_id")}}, next...), nil, nil
		}
		return next, nil, nil
	}
}

// modifier is one update operator on one path.
type modifier struct {
	op    string
	path  []string
	arg   any
	apply func(old any) (any, error)
}

func compileModifiers(u bson.D, now bson.DateTime) (updater, error) {
	var mods []*modifier
	for _, e := range u {
		if !isModifier(e.Key) {
			return nil, unsupported(codeFailedToParse, "Unknown modifier: %s", e.Key)
		}
		targets, ok := e.Value.(bson.D)
		if !ok {
			return nil, refuse(codeFailedToParse, "Modifiers operate on fields but we found type %s instead.", typeName(e.Value))
		}
		for _, t := range targets {
			path, err := splitUpdatePath(t.Key)
			if err != nil {
				return nil, err
			}
			m := &modifier{op: e.Key, path: path, arg: t.Value}
			if m.apply, err = compileModifier(m, now); err != nil {
				return nil, err
			}
			mods = append(mods, m)
		}
	}
	// MongoDB applies operators in the order of their paths.
	slices.SortStableFunc(mods, func(a, b *modifier) int { return slices.Compare(a.path, b.path) })
	if err := checkConflicts(mods); err != nil {
		return nil, err
	}
	return func(d bson.D) (bson.D, *description, error) { return applyModifiers(mods, d) }, nil
}

// checkConflicts refuses two operators on the same path, or on a path and a part of
// it.
func checkConflicts(mods []*modifier) error {
	for i, a := range mods {
		for _, b := range mods[i+1:] {
			if n := min(len(a.path), len(b.path)); slices.Equal(a.path[:n], b.path[:n]) {
				return refuse(codeConflictingOperators, "Updating the path '%s' would create a conflict at '%s'", strings.Join(b.path, "."), strings.Join(a.path[:n], "."))
			}
		}
	}
	return nil
}

func applyModifiers(mods []*modifier, d bson.D) (bson.D, *description, error) {
	e := &editor{doc: d}
	for _, m := range mods {
		removes := m.op == "$unset" || m.op == "$pull"
		if err := e.edit(m.path, !removes, m.apply); err != nil {
			return nil, nil, err
		}
	}
	return e.doc, e.describe(), nil
}
