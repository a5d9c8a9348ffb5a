package keycache

import (
	"encoding/binary"
	"encoding/json"
	"net/netip"
	"time"
	"unsafe"

	"github.com/keytail/keytail/internal/apikey"
)

// Bits of a record's first byte.
const (
	flagActive  = 1 << 0
	flagExpires = 1 << 1
	flagDefect  = 1 << 2
)

// expirySize is the longest encoding of a time.
const expirySize = binary.MaxVarintLen64

// recordSize is the number of bytes that appendRecord writes, or a few more.
func recordSize(r *apikey.Record) int {
	size := 1 + textSize(len(r.KeyID)) + textSize(len(r.UserID)) + textSize(len(r.OrgID)) + textSize(len(r.ProjectID)) +
		textSize(len(r.Name)) + textSize(len(r.Metadata)) + uvarintSize(len(r.Scopes)) + uvarintSize(len(r.AllowedIPs))
	if !r.ExpiresAt.IsZero() {
		size += expirySize
	}
	if r.Defect != "" {
		size += textSize(len(r.Defect)) + textSize(len(r.DefectReason))
	}
	for _, scope := range r.Scopes {
		size += textSize(len(scope))
	}
	return size + len(r.AllowedIPs)*(2+len(netip.IPv6Unspecified().As16()))
}

func appendRecord(b []byte, r *apikey.Record) []byte {
	var flags byte
	if r.Active {
		flags |= flagActive
	}
	if !r.ExpiresAt.IsZero() {
		flags |= flagExpires
	}
	if r.Defect != "" {
		flags |= flagDefect
	}
	b = append(b, flags)
	if !r.ExpiresAt.IsZero() {
		// A BSON date has millisecond precision, so nothing is lost.
		b = binary.AppendVarint(b, r.ExpiresAt.UnixMilli())
	}
	for _, text := range [...]string{r.KeyID, r.UserID, r.OrgID, r.ProjectID, r.Name, string(r.Metadata)} {
		b = appendText(b, text)
	}
	if r.Defect != "" {
		b = appendText(appendText(b, r.Defect), r.DefectReason)
	}
	b = binary.AppendUvarint(b, uint64(len(r.Scopes)))
	for _, scope := range r.Scopes {
		b = appendText(b, scope)
	}
	b = binary.AppendUvarint(b, uint64(len(r.AllowedIPs)))
	for _, prefix := range r.AllowedIPs {
		address := prefix.Addr().AsSlice()
		b = append(b, byte(len(address)), byte(prefix.Bits()))
		b = append(b, address...)
	}
	return b
}

func appendText(b []byte, text string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

// decodeFound reads what encode wrote after the head. All strings are views of value, which the
// caller owns and which is not written to again.
func decodeFound(head *entry, value []byte) *frontEntry {
	e := &frontEntry{entry: *head}
	d := decoder{rest: value}
	e.id = apikey.DocID(d.text())
	d.record(&e.record, e.scopes[:])
	return e
}

// record reads what appendRecord wrote. scopes is space for the first scopes.
func (d *decoder) record(r *apikey.Record, scopes []string) {
	flags := d.byte()
	r.Active = flags&flagActive != 0
	if flags&flagExpires != 0 {
		r.ExpiresAt = time.UnixMilli(d.varint()).UTC()
	}
	for _, field := range [...]*string{&r.KeyID, &r.UserID, &r.OrgID, &r.ProjectID, &r.Name} {
		*field = d.text()
	}
	if metadata := d.bytes(d.length()); len(metadata) > 0 {
		r.Metadata = json.RawMessage(metadata)
	}
	if flags&flagDefect != 0 {
		r.Defect, r.DefectReason = d.text(), d.text()
	}
	if n := d.length(); n > 0 {
		r.Scopes = scopes[:min(n, len(scopes)):min(n, len(scopes))]
		if n > len(scopes) {
			r.Scopes = make([]string, n)
		}
		for i := range r.Scopes {
			r.Scopes[i] = d.text()
		}
	}
	if n := d.length(); n > 0 {
		r.AllowedIPs = make([]netip.Prefix, n)
		for i := range r.AllowedIPs {
			r.AllowedIPs[i] = d.prefix()
		}
	}
}

// decoder takes values off the front of rest. It reads only what this process wrote, so a wrong
// length is a bug and panics by its slice bounds.
type decoder struct{ rest []byte }

func (d *decoder) byte() byte { return d.bytes(1)[0] }

func (d *decoder) bytes(n int) []byte {
	front := d.rest[:n:n]
	d.rest = d.rest[n:]
	return front
}

func (d *decoder) varint() int64 {
	value, n := binary.Varint(d.rest)
	d.rest = d.rest[n:]
	return value
}

func (d *decoder) length() int {
	// Nearly all lengths are below 128, which is one byte.
	if short := d.rest[0]; short < 0x80 {
		d.rest = d.rest[1:]
		return int(short)
	}
	value, n := binary.Uvarint(d.rest)
	d.rest = d.rest[n:]
	return int(value)
}

func (d *decoder) text() string {
	text := d.bytes(d.length())
	return unsafe.String(unsafe.SliceData(text), len(text))
}

func (d *decoder) prefix() netip.Prefix {
	size, bits := int(d.byte()), int(d.byte())
	address, _ := netip.AddrFromSlice(d.bytes(size))
	return netip.PrefixFrom(address, bits)
}
