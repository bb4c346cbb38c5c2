// SPDX-License-Identifier: Apache-2.0

package probing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"

	"github.com/tallystick/tallystick/driver"
)

// An openTLS is a connection under TLS that is signed in.
type openTLS struct {
	mu   sync.Mutex // one try at a time
	talk *talk
	now  now
	over *verdict // guarded by mu; of a connection that has ended
}

// Try uses the connection once more, as its protocol does: a request, a NOOP, a query.
// One that the other side has closed is refused: nobody gets in by it any more. So is one
// on which a server of IMAP or POP3 says that it ends, and closes it then.
func (o *openTLS) Try(ctx context.Context) driver.Attempt {
	o.mu.Lock()
	defer o.mu.Unlock()
	attempt := o.talk.attempt(driver.WayOpen, o.now)
	if o.over == nil {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		stop := context.AfterFunc(ctx, func() { o.talk.conn.Close() })
		defer stop()
		o.talk.raw.read.Store(0)
		d, _ := dialogueOf(o.talk.Protocol)
		v, err := d.again(o.talk)
		if err != nil {
			v = ended(ctx, v, err)
			o.over = &v
			o.talk.conn.Close()
		}
		attempt.Outcome, attempt.Answer = v.outcome, v.answer
		return attempt
	}
	attempt.Outcome, attempt.Answer = o.over.outcome, o.over.answer
	return attempt
}

// Close ends the connection.
func (o *openTLS) Close() error { return o.talk.conn.Close() }

// ended is the verdict on an open connection that broke when it was used, after the last
// words of the server, if it said any.
func ended(ctx context.Context, last verdict, err error) verdict {
	const closed = "the server closed the connection"
	alert, isAlert := alertIn(err)
	switch {
	case isAlert:
		return refused(fmt.Sprintf(closed+": %v", alert))
	case ctx.Err() != nil:
		return failed(because(ctx, err))
	case isClosed(err) && last.answer != "":
		return refused(last.answer + " (" + closed + ")")
	case isClosed(err):
		return refused(closed)
	}
	return failed(err.Error())
}

// isClosed says whether the other side has ended a connection.
func isClosed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
