// SPDX-License-Identifier: Apache-2.0

package postfix_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/smtp"
	"sync"
	"testing"
	"time"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/internal/lab"
)

// A load sends mail as carol, over and over, until it is ended.
type load struct {
	address string
	config  *tls.Config
	stop    chan struct{}
	once    sync.Once // closes stop
	group   sync.WaitGroup

	mu       sync.Mutex
	accepted map[string]bool // Message-IDs; guarded by mu, like those below
	failed   []error
}

// senders is how many send at once, and perConnection how many messages each connection
// carries: some are open when Postfix reloads.
const (
	senders       = 4
	perConnection = 5
)

func startLoad(t *testing.T, s *server) *load {
	t.Helper()
	l := &load{address: s.SMTP, stop: make(chan struct{}), accepted: map[string]bool{}, config: s.PKI.ClientConfig(s.carol)}
	for i := range senders {
		l.group.Go(func() { l.run(i) })
	}
	t.Cleanup(l.halt)
	return l
}

func (l *load) run(sender int) {
	for n := 0; ; n += perConnection {
		select {
		case <-l.stop:
			return
		default:
		}
		if err := l.connection(sender, n); err != nil {
			l.mu.Lock()
			l.failed = append(l.failed, err)
			l.mu.Unlock()
		}
	}
}

// connection sends some messages over one.
func (l *load) connection(sender, n int) error {
	c, err := smtp.Dial(l.address)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.StartTLS(l.config); err != nil {
		return fmt.Errorf("starttls: %w", err)
	}
	for i := range perConnection {
		id := fmt.Sprintf("%d.%d@load.test", sender, n+i)
		if err := send(c, id); err != nil {
			return fmt.Errorf("message %d of a connection: %w", i, err)
		}
		l.mu.Lock()
		l.accepted[id] = true
		l.mu.Unlock()
	}
	return c.Quit()
}

func send(c *smtp.Client, id string) error {
	if err := errors.Join(c.Mail("load@lab.test"), c.Rcpt(lab.Recipient)); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "From: load@lab.test\r\nTo: %s\r\nMessage-ID: <%s>\r\n\r\nhello\r\n", lab.Recipient, id)
	return w.Close() // the answer says that Postfix has it
}

// halt ends the load, if it goes on.
func (l *load) halt() {
	l.once.Do(func() { close(l.stop) })
	l.group.Wait()
}

// end stops the load and checks that nothing failed, and that each message that was
// accepted was delivered once.
func (l *load) end(t *testing.T, p *lab.Postfix) int {
	t.Helper()
	l.halt()
	for _, err := range l.failed {
		t.Errorf("a legitimate sender failed: %v", err)
	}
	delivered := p.AwaitDelivery(t)
	for id := range l.accepted {
		if delivered[id] != 1 {
			t.Errorf("message %s was accepted, and delivered %d times", id, delivered[id])
		}
	}
	if len(delivered) != len(l.accepted) {
		t.Errorf("%d messages were accepted, and %d delivered", len(l.accepted), len(delivered))
	}
	return len(l.accepted)
}

// Mail goes on while certificates are installed, and while somebody else is let in and
// blocked: nothing is refused, lost or doubled.
func TestMailGoesOn(t *testing.T) {
	t.Parallel()
	s := start(t, lab.PostfixSettings{}, nil)
	l := startLoad(t, s)
	time.Sleep(500 * time.Millisecond)
	for range 3 {
		_, err := s.door.(driver.Installer).Install(t.Context(), driver.InstallRequest{
			Host: host.Local(), New: s.PKI.Localhost(t), Keep: func(driver.Material) error { return nil }, Now: time.Now,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.door.(driver.Truster).Trust(t.Context(), driver.TrustRequest{Host: host.Local(), New: s.bob.Public, Like: s.alice.Public, Now: time.Now}); err != nil {
		t.Fatal(err)
	}
	s.gets(t, s.bob, driver.OutcomeAccepted)
	s.block(t, s.alice)
	s.gets(t, s.alice, driver.OutcomeRefused)
	time.Sleep(500 * time.Millisecond)
	t.Logf("%d messages", l.end(t, s.Postfix))
}
