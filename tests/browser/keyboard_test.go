package browser

import (
	"context"
	"strconv"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
)

// enter and tab are keys of a keyboard.
const enter, tab = "\r", "\t"

// press presses keys, each rune one.
func (b *browser) press(keys string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if _, err := chromedp.Run(ctx, chromedp.KeyEvent(keys)); err != nil {
		b.t.Fatal(err)
	}
}

// shortcut presses Ctrl and a key that Chromium has a command for, such as copy.
func (b *browser) shortcut(key, name string) {
	b.t.Helper()
	code := int64(key[0] - 'a' + 'A')
	for _, kind := range []input.DispatchKeyEventType{input.DispatchKeyEventTypeRawKeyDown, input.DispatchKeyEventTypeKeyUp} {
		ctrl := int64(2)
		params := input.DispatchKeyEventParams{Type: kind, Key: key, Modifiers: ctrl, WindowsVirtualKeyCode: code, Commands: []string{name}}
		_ = command[input.DispatchKeyEventParams, cdp.Empty](b, input.DispatchKeyEvent, params)
	}
}

// tabTo presses Tab until an element has the focus: everything can be reached.
func (b *browser) tabTo(selector string) {
	b.t.Helper()
	isFocused := `!!document.activeElement && document.activeElement.matches(` + strconv.Quote(selector) + `)`
	for range 80 {
		if evaluate[bool](b, isFocused) {
			return
		}
		b.press(tab)
	}
	b.t.Fatalf("Tab never reaches %s of %s", selector, b.text("h1"))
}

// follow goes to a link or a button by Tab, and presses Enter.
func (b *browser) follow(selector, heading string) {
	b.t.Helper()
	b.tabTo(selector)
	b.press(enter)
	b.await("h1", heading)
}
