// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/smtp"
	"net/textproto"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/lab"
)

// A mail is the vendor's mail service: messages come in by SMTP with a password, through
// Postfix, and are fetched by POP3 from Dovecot. Nothing of the case may hold it up.
type mail struct {
	stage   *stage
	postfix *lab.Postfix
	dovecot *lab.Dovecot
	config  *tls.Config
	user    string
	secret  string // made for this run

	going sync.WaitGroup
	stop  context.CancelFunc

	mu      sync.Mutex
	sent    map[string]bool // guarded by mu; Message-IDs that Postfix took
	fetched map[string]int  // guarded by mu; and how often each was fetched
	trouble []string        // guarded by mu; what went wrong first
}

const (
	sendGap  = 200 * time.Millisecond
	fetchGap = time.Second
	// mailTime bounds how long the last messages may take at the end.
	mailTime = time.Minute
)

// openMail starts the mail service where that can be; where not it says why.
func (p *play) openMail(ctx context.Context) error {
	if missing := mailMissing(); missing != "" {
		p.Story.Say("No mail flows beside it: %s.", missing)
		return nil
	}
	m, err := newMail()
	if err != nil {
		return err
	}
	p.mail = m
	p.Story.Say("Mail flows: a real Postfix takes %d messages a second, and a real Dovecot hands them out.", time.Second/sendGap)
	ctx, m.stop = context.WithCancel(ctx)
	m.going.Go(func() { m.every(ctx, sendGap, m.send) })
	m.going.Go(func() { m.every(ctx, fetchGap, m.fetch) })
	return nil
}

// mailMissing says what keeps the servers from running here; "" is nothing.
func mailMissing() string {
	if os.Getuid() != 0 {
		return "Postfix and Dovecot want to be started by root"
	}
	for _, name := range []string{"postfix", "dovecot", "postmap", "setsid"} {
		if _, err := exec.LookPath(name); err != nil {
			if _, err := exec.LookPath("/usr/sbin/" + name); err != nil {
				return name + " is not installed (Debian: postfix, dovecot-pop3d and dovecot-imapd)"
			}
		}
	}
	return ""
}

// newMail starts the servers. Dovecot keeps the passwords, also those for Postfix, and the mail.
func newMail() (m *mail, err error) {
	stage := &stage{}
	defer stage.rescue(&err)
	m = &mail{stage: stage, user: "inbox", secret: uuid.NewString(), sent: map[string]bool{}, fetched: map[string]int{}}
	pki := lab.NewPKI(stage)
	m.dovecot = lab.StartDovecot(stage, lab.DovecotSettings{PKI: pki, Users: map[string]string{m.user: m.secret}, NoLists: true, Main: "ssl_verify_client_cert = no\n"})
	m.postfix = lab.StartPostfix(stage, lab.PostfixSettings{PKI: pki, SASL: m.dovecot.Auth, Main: "virtual_mailbox_base = " + m.dovecot.Mail + "\n"})
	m.config = pki.ClientConfig(driver.Material{})
	return m, nil
}

// every does something again and again until ctx ends, and keeps what goes wrong.
func (m *mail) every(ctx context.Context, gap time.Duration, do func() error) {
	for {
		if err := do(); err != nil {
			m.mu.Lock()
			if len(m.trouble) < 20 {
				m.trouble = append(m.trouble, fmt.Sprintf("%s mail: %v", time.Now().Format("15:04:05.000"), err))
			}
			m.mu.Unlock()
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(gap):
		}
	}
}

// connect connects to a mail server of ours.
func (m *mail) connect(address string) (net.Conn, error) {
	const patience = 10 * time.Second
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return nil, err
	}
	return conn, conn.SetDeadline(time.Now().Add(3 * patience))
}

// send hands in one message. One that Postfix did not say yes to was not sent.
func (m *mail) send() error {
	conn, err := m.connect(m.postfix.SMTP)
	if err != nil {
		return err
	}
	defer conn.Close()
	client, err := smtp.NewClient(conn, "localhost")
	if err != nil {
		return err
	}
	if err := client.StartTLS(m.config); err != nil {
		return err
	}
	if err := client.Auth(smtp.PlainAuth("", m.user, m.secret, "localhost")); err != nil {
		return err
	}
	if err := errors.Join(client.Mail("hello@vendor.example"), client.Rcpt(lab.Recipient)); err != nil {
		return err
	}
	body, err := client.Data()
	if err != nil {
		return err
	}
	id := uuid.NewString() + "@vendor.example"
	if _, err := fmt.Fprintf(body, "Message-ID: <%s>\r\nSubject: Hello\r\n\r\nMail goes on.\r\n", id); err != nil {
		return err
	}
	if err := body.Close(); err != nil {
		return err
	}
	m.mu.Lock()
	m.sent[id] = true
	m.mu.Unlock()
	return client.Quit()
}

// fetch takes all mail that is there (RFC 1939).
func (m *mail) fetch() error {
	conn, err := m.connect(m.dovecot.POP3S)
	if err != nil {
		return err
	}
	defer conn.Close()
	text := textproto.NewConn(tls.Client(conn, m.config))
	if err := popAnswer(text); err != nil {
		return err
	}
	for _, command := range []string{"USER " + m.user, "PASS " + m.secret} {
		if err := popAsk(text, command); err != nil {
			return err
		}
	}
	if err := popAsk(text, "LIST"); err != nil {
		return err
	}
	list, err := text.ReadDotLines()
	if err != nil {
		return err
	}
	var ids []string
	for _, line := range list {
		number, _, _ := strings.Cut(line, " ")
		if err := popAsk(text, "RETR "+number); err != nil {
			return err
		}
		message, err := text.ReadDotBytes()
		if err != nil {
			return err
		}
		header, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(message))).ReadMIMEHeader()
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		ids = append(ids, strings.Trim(header.Get("Message-ID"), "<>"))
		if err := popAsk(text, "DELE "+number); err != nil {
			return err
		}
	}
	if err := popAsk(text, "QUIT"); err != nil { // only now it deletes
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range ids {
		m.fetched[id]++
	}
	return nil
}

// popAsk sends a command, and is an error unless the answer is +OK (RFC 1939 section 3).
func popAsk(text *textproto.Conn, command string) error {
	if err := text.PrintfLine("%s", command); err != nil {
		return err
	}
	return popAnswer(text)
}

func popAnswer(text *textproto.Conn) error {
	line, err := text.ReadLine()
	if err == nil && !strings.HasPrefix(line, "+OK") {
		err = fmt.Errorf("%w: %s", tallystick.ErrUnavailable, line)
	}
	return err
}

// close ends the mail service when everything that was sent was fetched, or will not be any
// more, and returns what came of it.
func (m *mail) close(ctx context.Context) (MailResult, error) {
	m.stop()
	m.going.Wait()
	err := until(ctx, fetchGap/4, mailTime, "all mail was fetched", func(context.Context) (bool, error) {
		if err := m.fetch(); err != nil {
			return false, err
		}
		return m.result().Lost == 0, nil
	})
	if errors.Is(err, tallystick.ErrUnavailable) && m.result().Lost > 0 {
		err = nil // the result tells
	}
	return m.result(), err
}

func (m *mail) result() MailResult {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := MailResult{Flows: true, Sent: len(m.sent)}
	for id := range m.sent {
		switch n := m.fetched[id]; {
		case n == 0:
			r.Lost++
		case n > 1:
			r.Doubled++
		}
	}
	return r
}

// troubles returns what went wrong first.
func (m *mail) troubles() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.trouble)
}
