// Package managedkey has the types that package routes and package keyadmin
// exchange about a key that an administrator manages: the fields of a request
// and their checks, the key in a response, pages, entries of the audit, and
// errors.
//
// It is separate from both because routes must not depend on MongoDB, and keyadmin
// not on HTTP. It depends on the standard library and on pure packages of the
// module only.
package managedkey
