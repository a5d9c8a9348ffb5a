// Package browser tests the pages of the admin listener in Chromium, on a real daemon. It
// is a module of its own, so that programs that use keytail do not get its dependencies.
//
// The tests need chromium (Debian's package) and axe-core, whose script KEYTAIL_TEST_AXE
// names; .ci/run installs both. The pictures in docs/images are made by
//
//	go -C tests/browser test -run 'Follows|Keyboard' -screenshots ../../docs/images
package browser
