package tunnel

import (
	"strings"
	"testing"

	"go.uber.org/zap"
)

func TestAsksPassword(t *testing.T) {
	for prompt, want := range map[string]bool{
		"Password: ":                            true,
		"(deploy@b.example) Password:":          true,
		"deploy@b.example's password: ":         true,
		"Passwort: ":                            true,
		"Mot de passe : ":                       true,
		"LDAP Password:":                        true,
		"Verification code: ":                   false,
		"One-time password (OATH) for deploy: ": false,
		"Password & verification code: ":        false,
		"Enter PASSCODE: ":                      false,
		"OTP Password:":                         false,
		"New password: ":                        false,
		"Retype new password: ":                 false,
		"Password + Token:":                     false,
		"PIN: ":                                 false,
		"Duo two-factor login":                  false,
		"":                                      false,
	} {
		if asksPassword(prompt) != want {
			t.Errorf("%q: %v", prompt, !want)
		}
	}
}

func TestEchoedPromptIsNotAnswered(t *testing.T) {
	a := newAuthenticator(&Config{}, zap.NewNop())
	if answers, err := a.answer("secret", []string{"Password:"}, []bool{true}); err == nil || answers != nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("answered %q, %v", answers, err)
	}
}
