package strictjson

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"
)

func TestFields(t *testing.T) {
	var got []string
	err := Fields([]byte(" {\"a\" : 1, \"\\u0062\":\"x\\\"}\",\n\"c\":{\"a\":[1,{}],\"a\":2} } "), func(name string, value gjson.Result) error {
		got = append(got, name+"="+value.Raw)
		return nil
	})
	if diff := cmp.Diff([]string{"a=1", `b="x\"}"`, `c={"a":[1,{}],"a":2}`}, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}

func TestRejectedTexts(t *testing.T) {
	var many strings.Builder
	for i := range MaxFields + 1 {
		fmt.Fprintf(&many, `"f%d":0,`, i)
	}
	for text, want := range map[string]error{
		``: ErrNotObject, `null`: ErrNotObject, `[{}]`: ErrNotObject, `"a"`: ErrNotObject, `{`: ErrNotObject, `{"a"}`: ErrNotObject,
		`{}{}`: ErrNotObject, `{} x`: ErrNotObject, `{"a":1,}`: ErrNotObject, "{\"a\":\"\xff\"}": ErrNotObject,
		`{"a":1,"a":1}`: ErrDuplicateField, `{"a":1,"b":2,"\u0061":1}`: ErrDuplicateField,
		"{" + strings.TrimSuffix(many.String(), ",") + "}": ErrTooManyFields,
	} {
		if err := Fields([]byte(text), func(string, gjson.Result) error { return nil }); !errors.Is(err, want) {
			t.Errorf("%.40q: %v, want %v", text, err, want)
		}
	}
}

func TestErrorOfReadEndsTheLoop(t *testing.T) {
	want, calls := errors.New("wrong"), 0
	err := Fields([]byte(`{"a":1,"b":2}`), func(string, gjson.Result) error {
		calls++
		return want
	})
	if !errors.Is(err, want) || calls != 1 {
		t.Errorf("%v after %d calls", err, calls)
	}
}

// FuzzFields compares Fields with json.Unmarshal.
func FuzzFields(f *testing.F) {
	for _, text := range []string{`{}`, `{"a":1,"A":2}`, `{"a":"\\\"}{","b" : [{"a":null}] }`, `{"a":1,"\u0061":2}`, `[]`, `{"\ud800":1}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got := map[string]string{}
		err := Fields(text, func(name string, value gjson.Result) error {
			got[name] = value.Raw
			return nil
		})
		var want map[string]json.RawMessage
		decodeErr := json.Unmarshal(text, &want)
		if err != nil {
			return
		}
		if decodeErr != nil || want == nil || len(got) != len(want) {
			t.Fatalf("%q: %d fields, json.Unmarshal returns %d and %v", text, len(got), len(want), decodeErr)
		}
		for name, raw := range want {
			if value, found := got[name]; found && value != string(raw) {
				t.Fatalf("%q: %s is %s, want %s", text, name, value, raw)
			}
		}
	})
}
