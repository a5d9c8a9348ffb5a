package history

import (
	"errors"
	"io"
	"strings"
	"testing"
)

func BenchmarkReader(b *testing.B) {
	var to strings.Builder
	w, err := NewWriter(&to, *every[0].(*Header))
	for range 1000 {
		err = errors.Join(err, w.Add(&Answer{Key: "key-12a", Code: Valid, Asked: at(5), Given: at(6), AsOf: at(4), StalenessMS: ms(412.123456), Revision: "6923a1c000000003", Instance: "instance-1", Source: "cache"}))
	}
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(to.Len()))
	b.ReportAllocs()
	for b.Loop() {
		for r := NewReader(strings.NewReader(to.String()), Options{}); ; {
			if _, err := r.Next(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				b.Fatal(err)
			}
		}
	}
}
