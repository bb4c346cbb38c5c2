// SPDX-License-Identifier: Apache-2.0

package signin

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/driver"
)

// judge has a server say all it says at once.
func judge(t *testing.T, protocol, says string) verdict {
	t.Helper()
	d, _ := dialogueOf(protocol)
	v, err := d.signIn(&talk{conn: io.Discard, in: bufio.NewReaderSize(strings.NewReader(says), lineLimit)}, "alice", "secret word")
	if err != nil {
		return failed(err.Error())
	}
	return v
}

// Words that are not about the password decide nothing.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	const (
		imapHead = "* OK\r\n* CAPABILITY AUTH=PLAIN\r\nc OK\r\n"
		popHead  = "+OK\r\n+OK\r\nSASL LOGIN PLAIN\r\n.\r\n"
		smtpHead = "220 a\r\n250-a\r\n250 AUTH LOGIN PLAIN\r\n"
	)
	for _, one := range []struct{ protocol, says, want string }{
		{"imaps", imapHead + "+ \r\na OK in\r\n", driver.OutcomeAccepted},
		{"imaps", imapHead + "+ \r\n* CAPABILITY X\r\na NO [AUTHENTICATIONFAILED] no\r\n", driver.OutcomeRefused},
		{"imaps", imapHead + "+ \r\na NO [UNAVAILABLE] later\r\n", driver.OutcomeFailed},
		{"imaps", imapHead + "+ \r\na BAD too long\r\n", driver.OutcomeFailed},
		{"imaps", imapHead + "a NO before it was asked\r\n", driver.OutcomeFailed},
		{"imaps", imapHead + "+ \r\n* BYE\r\n", driver.OutcomeFailed},
		{"pop3s", popHead + "+ \r\n+OK\r\n", driver.OutcomeAccepted},
		{"pop3s", popHead + "+ \r\n-ERR [IN-USE] somebody is in\r\n", driver.OutcomeAccepted},
		{"pop3s", popHead + "+ \r\n-ERR [AUTH] no\r\n", driver.OutcomeRefused},
		{"pop3s", popHead + "+ \r\n-ERR [SYS/TEMP] later\r\n", driver.OutcomeFailed},
		{"pop3s", popHead + "-ERR [AUTH] before it was asked\r\n", driver.OutcomeFailed},
		{"smtps", smtpHead + "334 \r\n235 in\r\n", driver.OutcomeAccepted},
		{"smtps", smtpHead + "334 \r\n535-5.7.8\r\n535 no\r\n", driver.OutcomeRefused},
		{"smtps", smtpHead + "334 \r\n454 4.7.0 later\r\n", driver.OutcomeFailed},
		{"smtps", smtpHead + "535 before it was asked\r\n", driver.OutcomeFailed},
		{"smtps", smtpHead + "334 \r\n334 more\r\n", driver.OutcomeFailed},
		{"smtps", smtpHead, driver.OutcomeFailed},
	} {
		if v := judge(t, one.protocol, one.says); v.outcome != one.want {
			t.Errorf("%s: %q is %s, want %s (%s)", one.protocol, one.says, v.outcome, one.want, v.answer)
		}
	}
}

// A server that repeats what it was told does not have it printed.
func TestAnswersKeepQuiet(t *testing.T) {
	t.Parallel()
	const password = "secret word"
	for _, echo := range []string{password, encode(password), encode("\x00alice\x00" + password)} {
		if said := withhold("a NO "+echo+" is wrong", "alice", driver.NewSecret(password)); said != "a NO [redacted] is wrong" {
			t.Errorf("it says %q", said)
		}
	}
}

// FuzzDialogues lets a server say anything. Whatever it says, the dialogue ends with a verdict,
// and lets nobody in whom it has not asked for a password.
func FuzzDialogues(f *testing.F) {
	for protocol, says := range map[string]string{
		"imaps": "* OK\r\n* CAPABILITY AUTH=PLAIN\r\nc OK\r\n+\r\na OK in\r\n",
		"imap":  "* CAPABILITY AUTH=LOGIN\r\nc OK\r\n+ VXNlcg==\r\n+ UGFzcw==\r\na NO [AUTHENTICATIONFAILED] no\r\n",
		"pop3s": "+OK\r\n+OK\r\nSASL PLAIN\r\n.\r\n+ \r\n-ERR [AUTH] no\r\n",
		"smtps": "220 a\r\n250-a\r\n250 AUTH PLAIN\r\n334 \r\n235 ok\r\n",
		"smtp":  "250-a\r\n250-AUTH LOGIN\r\n250 x\r\n334 a\r\n334 b\r\n535 no\r\n",
	} {
		f.Add(protocol, []byte(says))
	}
	f.Fuzz(func(t *testing.T, protocol string, says []byte) {
		d, ok := dialogueOf(protocol)
		if !ok {
			return
		}
		var told bytes.Buffer
		v, err := d.signIn(&talk{conn: &told, in: bufio.NewReaderSize(bytes.NewReader(says), lineLimit), greeted: !strings.HasSuffix(protocol, "s")}, "alice", "secret word")
		if err == nil && v.outcome == "" {
			t.Fatalf("%s: no verdict", protocol)
		}
		sent := strings.Contains(told.String(), encode("\x00alice\x00secret word")) || strings.Contains(told.String(), encode("secret word"))
		if (v.outcome == driver.OutcomeAccepted || v.outcome == driver.OutcomeRefused) && !sent {
			t.Fatalf("%s: %+v, and the password was not sent", protocol, v)
		}
	})
}
