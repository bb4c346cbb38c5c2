// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"strconv"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

func bookRules() []rule.Rule {
	return []rule.Rule{bookEdited(), bookGap(), clockSkew(), recordAfterClose(), silentSource()}
}

// The controls for audit records, which books are.
const (
	audit    = "NIST SP 800-53 Revision 5 "
	auditURL = "https://csrc.nist.gov/pubs/sp/800/53/r5/upd1/final"
)

// book names a source in evidence.
func book(s *rule.BookSubject) string { return "the book " + strconv.Quote(s.Source) }

func silentSource() rule.Rule {
	return rule.Rule{
		Name:  "silent-source",
		Title: "A source has gone silent",
		About: "A source of uses said nothing for longer than it should. Uses wait for its book, and a theft would not be noticed meanwhile; " +
			"silence is neither innocence nor theft.",
		Severity:  tallystick.SeverityMedium,
		Citation:  audit + "AU-5, response to audit logging process failures",
		URL:       auditURL,
		Effective: day(2020, time.December, 10),
		Do:        "See whether the program or the shipping of its log still runs; if the source was given up, remove it or pause it.",
		Book: func(s rule.BookSubject) []rule.Hit {
			if s.Silence <= 0 || s.Heard.IsZero() || s.Now.Sub(s.Heard) <= s.Silence {
				return nil
			}
			return one(0, "%s has said nothing since %s", book(&s), instant(s.Heard))
		},
	}
}

func bookGap() rule.Rule {
	return rule.Rule{
		Name:  "book-gap",
		Title: "Records are missing from a book",
		About: "Records of a source are numbered without gaps, and some numbers never came: they were lost on the way or taken out. A use whose record " +
			"is missing on the holder's side looks foreign; one that is missing on the relying side is not looked at at all.",
		Severity:  tallystick.SeverityMedium,
		Citation:  audit + "AU-9, protection of audit information",
		URL:       auditURL,
		Effective: day(2020, time.December, 10),
		Do:        "Send the missing records again from where they are kept (`tally ledger books` shows the numbers); if they are lost, find out how.",
		Book: func(s rule.BookSubject) []rule.Hit {
			if s.Missing == 0 {
				return nil
			}
			return one(0, "records of %s are missing from number %d on", book(&s), s.FirstMissing)
		},
	}
}

func bookEdited() rule.Rule {
	return rule.Rule{
		Name:  "book-edited",
		Title: "A book was changed after it was written",
		About: "The hash of a record does not follow from the one before, or a number came twice with different content: a record was changed, taken " +
			"out or put in. What this book says proves nothing for that time.",
		Severity:  tallystick.SeverityHigh,
		Citation:  "MITRE ATT&CK T1070, indicator removal",
		URL:       "https://attack.mitre.org/techniques/T1070/",
		Effective: day(2017, time.May, 31),
		Do: "Ask who can write where the book is kept; compare it with a backup and with the relying parties' records of that time. Two programs that " +
			"write under one source name look like this too: give each its own.",
		Book: func(s rule.BookSubject) []rule.Hit {
			switch {
			case s.Broken > 0:
				return one(0, "record %d of %s does not follow from the one before", s.FirstBroken, book(&s))
			case s.Twice > 0:
				return one(0, "a number of %s came again with different content", book(&s))
			}
			return nil
		},
	}
}

func recordAfterClose() rule.Rule {
	return rule.Rule{
		Name:  "record-after-close",
		Title: "A book was closed too early",
		About: "Records came for a time for which the source had said that nothing more would come. Verdicts were put right with them, but until then " +
			"uses may have been called foreign that were not.",
		Severity:  tallystick.SeverityLow,
		Citation:  audit + "AU-12(1), time-correlated audit trail",
		URL:       auditURL,
		Effective: day(2020, time.December, 10),
		Do:        "Let the source close its book later: only up to the oldest record that it has not yet sent (give a source that is read from files a longer settle).",
		Book: func(s rule.BookSubject) []rule.Hit {
			if s.AfterClose <= 0 {
				return nil
			}
			return one(0, "%s got records of a time for which it was closed", book(&s))
		},
	}
}

// How far a clock may be off; matching tolerates two minutes unless told otherwise.
const (
	skewAllowed  = 30 * time.Second
	skewMismatch = 2 * time.Minute
)

func clockSkew() rule.Rule {
	return rule.Rule{
		Name:  "clock-skew",
		Title: "The clock of a source is wrong",
		About: "The times of a source and of its counterparts are more than 30 seconds apart. Beyond two minutes uses that belong together are not " +
			"matched by their time any more, which is medium.",
		Severity:  tallystick.SeverityLow,
		Citation:  audit + "AU-8, time stamps",
		URL:       auditURL,
		Effective: day(2020, time.December, 10),
		Do:        "Set the clock of the host by NTP, or correct the time zone of its log.",
		Book: func(s rule.BookSubject) []rule.Hit {
			skew, direction, severity := s.Skew, "ahead of", tallystick.Severity(0)
			if skew < 0 {
				skew, direction = -skew, "behind"
			}
			if skew <= skewAllowed {
				return nil
			}
			most := skewAllowed
			if skew > skewMismatch {
				most, severity = skewMismatch, tallystick.SeverityMedium
			}
			return one(severity, "the clock of %s is more than %d seconds %s those of its counterparts", book(&s), int(most.Seconds()), direction)
		},
	}
}
