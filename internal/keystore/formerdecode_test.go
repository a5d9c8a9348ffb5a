package keystore

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
)

// formerDecode reads a document with the driver's accessors, one allocation for each
// element and text. It is what Schema.Decode must agree with: the decoder walks over
// the bytes itself. (ActiveForm and ExpiresForm are shared, and have tests of their
// own.)
func formerDecode(s Schema, doc bson.Raw) Document {
	d := formerDecoder{schema: s}
	d.setDefaults()
	elements, err := elements(doc)
	if err != nil {
		d.addDefect(apikey.ReasonUnreadable, "the document is not valid BSON")
		d.doc.MoreHashes = true
	}
	for _, e := range elements {
		d.readElement(e.Key(), e.Value())
	}
	d.checkRequired()
	d.doc.Record.Defect = strings.Join(d.defects, "; ")
	if d.doc.Unfindable() {
		// No request gets as far as the other defects.
		d.doc.Record.DefectReason = d.hashReason()
	}
	return d.doc
}

// formerDecoder is the state of one Decode.
type formerDecoder struct {
	schema  Schema
	doc     Document
	defects []string
	// seen marks the fields found so far, to detect fields that occur twice or
	// never.
	seen formerSeen
}

// formerSeen has a mark for each field that affects a verdict.
type formerSeen struct{ id, hash, active, user, org, project, name, scopes, ips, expiry, metadata bool }

// addDefect adds a sentence of these words. The first reason is that of the record.
func (d *formerDecoder) addDefect(reason string, words ...string) {
	d.defects = append(d.defects, strings.Join(words, " "))
	if r := &d.doc.Record; r.DefectReason == "" {
		r.DefectReason = reason
	}
}

// hashReason is the reason of a document without a readable hash.
func (d *formerDecoder) hashReason() string {
	if !d.seen.hash {
		return apikey.ReasonMissing + d.schema.Hash
	}
	return apikey.ReasonType + d.schema.Hash
}

// setDefaults sets the values that apply if the document has no others.
func (d *formerDecoder) setDefaults() {
	d.doc.Record.Active = !d.schema.ActiveForm.required()
	d.doc.Record.Scopes = d.schema.DefaultScopes
}

// readElement reads one field of the root.
func (d *formerDecoder) readElement(name string, v bson.RawValue) {
	place, read := d.fieldReader(name)
	if read == nil {
		return
	}
	if *place {
		d.addDefect(apikey.ReasonDuplicate+name, name, "occurs twice")
		if name == d.schema.Hash {
			d.addOtherHashes(v)
		}
		return
	}
	*place = true
	if problem := read(v); problem != "" {
		d.addDefect(apikey.ReasonType+name, name, problem)
	}
}

// fieldReader returns the mark and the read function of a field. A nil function
// means that the field does not affect a verdict.
func (d *formerDecoder) fieldReader(name string) (*bool, func(bson.RawValue) string) {
	s, r := &d.schema, &d.doc.Record
	switch name {
	case "":
		// A role without a name must not match a field with an empty name
		return nil, nil
	case idField:
		return &d.seen.id, d.readIdentity
	case s.Hash:
		return &d.seen.hash, d.readHash
	case s.Active:
		return &d.seen.active, d.readActive
	case s.UserID:
		return &d.seen.user, formerInto(&r.UserID, formerReadID)
	case s.OrgID:
		return &d.seen.org, formerInto(&r.OrgID, formerNullable(formerReadID))
	case s.ProjectID:
		return &d.seen.project, formerInto(&r.ProjectID, formerNullable(formerReadID))
	case s.Name:
		return &d.seen.name, formerInto(&r.Name, formerNullable(formerReadName))
	case s.Scopes:
		return &d.seen.scopes, d.readScopes
	case s.AllowedIPs:
		return &d.seen.ips, formerInto(&r.AllowedIPs, formerNullable(formerReadNetworks))
	case s.ExpiresAt:
		return &d.seen.expiry, formerInto(&r.ExpiresAt, formerNullable(s.ExpiresForm.read))
	case s.Metadata:
		return &d.seen.metadata, formerInto(&r.Metadata, formerNullable(formerReadMetadata))
	}
	return nil, nil
}

// readIdentity reads _id. An _id of any type identifies the document, but only some
// types can be a key id.
func (d *formerDecoder) readIdentity(v bson.RawValue) string {
	d.doc.ID = d.schema.ID(v)
	text, problem := formerReadID(v)
	if problem != "" {
		text = idForLog(v)
	}
	d.doc.Record.KeyID = text
	return problem
}

func (d *formerDecoder) readHash(v bson.RawValue) string {
	d.doc.Hash, d.doc.HasHash = formerHash(d.schema.HashEncoding, v)
	if !d.doc.HasHash {
		d.addOtherHashes(v)
		return "is not " + d.schema.aHash() + " " + d.schema.HashEncoding.description()
	}
	return ""
}

// addOtherHashes records for which hashes a lookup may find a value that is not
// a hash.
func (d *formerDecoder) addOtherHashes(v bson.RawValue) {
	hashes, all := d.schema.HashesIn(v)
	d.doc.OtherHashes = append(d.doc.OtherHashes, hashes...)
	if !all || len(d.doc.OtherHashes) > MaxHashes {
		d.doc.MoreHashes = true
	}
}

// readActive overrides the default that setDefaults has set, even with a value that
// cannot be read.
func (d *formerDecoder) readActive(v bson.RawValue) (problem string) {
	d.doc.Record.Active, problem = d.schema.ActiveForm.read(v)
	return problem
}

func (d *formerDecoder) readScopes(v bson.RawValue) (problem string) {
	if v.Type == bson.TypeNull {
		return ""
	}
	d.doc.Record.Scopes, problem = formerReadScopesIn(d.schema.ScopesForm, v)
	return problem
}

// checkRequired adds a defect for each required field that is absent.
func (d *formerDecoder) checkRequired() {
	if d.doc.Record.KeyID == "" {
		d.doc.Record.KeyID = unknownID
	}
	for _, f := range []struct {
		name string
		seen bool
	}{
		{idField, d.seen.id},
		{d.schema.Hash, d.seen.hash},
		{d.schema.Active, d.seen.active || !d.schema.ActiveForm.required()},
		{d.schema.UserID, d.seen.user},
	} {
		if !f.seen {
			d.addDefect(apikey.ReasonMissing+f.name, f.name, "is missing")
		}
	}
}

// A formerReader converts a value into T, or returns a problem: words, without the
// value, that follow the field's name.
type formerReader[T any] func(v bson.RawValue) (T, string)

// formerInto stores what read returns in place. After a problem, place keeps its zero
// value.
func formerInto[T any](place *T, read formerReader[T]) func(bson.RawValue) string {
	return func(v bson.RawValue) string {
		value, problem := read(v)
		if problem == "" {
			*place = value
		}
		return problem
	}
}

// formerNullable reads null as the zero value, like a field that is absent.
func formerNullable[T any](read formerReader[T]) formerReader[T] {
	return func(v bson.RawValue) (T, string) {
		if v.Type == bson.TypeNull {
			var zero T
			return zero, ""
		}
		return read(v)
	}
}

// formerReadID returns the text of an id. Ids of different types can have the same
// text: 7 and "7" are the same user.
func formerReadID(v bson.RawValue) (string, string) {
	text, problem := formerIDText(v)
	if problem == "" {
		if err := apikey.ValidID(text); err != nil {
			return "", "cannot be read: " + err.Error()
		}
	}
	return text, problem
}

func formerIDText(v bson.RawValue) (text, problem string) {
	switch v.Type {
	case bson.TypeString:
		if text, ok := formerStringOf(v); ok {
			return text, ""
		}
	case bson.TypeObjectID:
		if id, ok := v.ObjectIDOK(); ok {
			return id.Hex(), ""
		}
	case bson.TypeInt32, bson.TypeInt64:
		if number, ok := v.AsInt64OK(); ok {
			return strconv.FormatInt(number, 10), ""
		}
	case bson.TypeBinary:
		if subtype, data, ok := v.BinaryOK(); ok && subtype == bson.TypeBinaryUUID && len(data) == 16 {
			return formerUUIDText(data), ""
		}
		return "", "is binary data other than a UUID of subtype 4, a string, ObjectId, UUID or integer is needed"
	}
	return "", wrongType(v, "a string, ObjectId, UUID or integer")
}

func formerReadName(v bson.RawValue) (string, string) {
	name, ok := formerStringOf(v)
	if !ok {
		return "", wrongType(v, "a string")
	}
	if err := apikey.ValidName(name); err != nil {
		return "", "cannot be read: " + err.Error()
	}
	return name, ""
}

// formerReadScopes returns a non-nil slice for an array without elements: an empty
// list of scopes is not the same as an absent one.
func formerReadScopes(v bson.RawValue) ([]string, string) {
	return formerReadStrings(v, func(text string) (string, error) { return text, apikey.ValidScope(text) })
}

func formerReadNetworks(v bson.RawValue) ([]netip.Prefix, string) {
	return formerReadStrings(v, apikey.ParseNetwork)
}

// formerReadStrings reads an array of strings, each by parse. The first element that
// cannot be read makes the whole array unreadable.
func formerReadStrings[T any](v bson.RawValue, parse func(string) (T, error)) ([]T, string) {
	array, ok := v.ArrayOK()
	if !ok {
		return nil, wrongType(v, "an array of strings")
	}
	values, err := array.Values()
	if err != nil {
		return nil, "is not valid BSON"
	}
	list := make([]T, 0, len(values))
	for i, element := range values {
		text, ok := formerStringOf(element)
		if !ok {
			return nil, fmt.Sprintf("element %d %s", i, wrongType(element, "a string"))
		}
		item, err := parse(text)
		if err != nil {
			return nil, fmt.Sprintf("element %d cannot be read: %v", i, err)
		}
		list = append(list, item)
	}
	return list, ""
}

// formerReadMetadata converts to JSON, in the relaxed form of MongoDB Extended JSON
// 2.0: an ObjectId is {"$oid":…}, a date is {"$date":…}, numbers are numbers.
func formerReadMetadata(v bson.RawValue) (json.RawMessage, string) {
	doc, ok := v.DocumentOK()
	if !ok {
		return nil, wrongType(v, "an embedded document")
	}
	text, err := bson.MarshalExtJSON(doc, false, false)
	if err != nil || !json.Valid(text) || !utf8.Valid(text) {
		return nil, "cannot be written as JSON"
	}
	return text, ""
}

func formerReadScopesIn(f ScopesForm, v bson.RawValue) ([]string, string) {
	if f != ScopesText {
		return formerReadScopes(v)
	}
	text, ok := formerStringOf(v)
	if !ok {
		return nil, wrongType(v, "a string")
	}
	scopes := []string{}
	for scope := range strings.SplitSeq(text, " ") {
		if scope == "" {
			continue
		}
		if err := apikey.ValidScope(scope); err != nil {
			return nil, fmt.Sprintf("word %d cannot be read: %v", len(scopes), err)
		}
		scopes = append(scopes, scope)
	}
	return scopes, ""
}

func formerStringOf(v bson.RawValue) (string, bool) {
	if v.Type != bson.TypeString || v.Validate() != nil {
		return "", false
	}
	return v.StringValueOK()
}

func formerUUIDText(u []byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:16])
}

// formerHash is HashEncoding.read with the decoders of the standard library.
func formerHash(e HashEncoding, v bson.RawValue) (apikey.Hash, bool) {
	if e == HashBinary {
		subtype, data, ok := v.BinaryOK()
		if !ok || subtype != bson.TypeBinaryGeneric || len(data) != len(apikey.Hash{}) {
			return apikey.Hash{}, false
		}
		return apikey.Hash(data), true
	}
	text, ok := formerStringOf(v)
	decoded, err := hex.DecodeString(text)
	encode := hex.EncodeToString
	if e == HashHexUpper {
		encode = func(hash []byte) string { return strings.ToUpper(hex.EncodeToString(hash)) }
	}
	if base := e.base64(); base != nil {
		decoded, err = base.DecodeString(text)
		encode = base.EncodeToString
	}
	if !ok || err != nil || len(decoded) != len(apikey.Hash{}) || encode(decoded) != text {
		return apikey.Hash{}, false
	}
	return apikey.Hash(decoded), true
}
