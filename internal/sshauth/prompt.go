// prompt.go finds out what a prompt of a keyboard-interactive dialogue asks for
// (RFC 4256). ssh shows it to a person, who knows what to type. We answer with the
// password unless it clearly asks for something else: a wrong code, or the password
// in the place of a new one, could lock the account.

package sshauth

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// promptKind is what a prompt asks for.
type promptKind int

const (
	promptPassword promptKind = iota
	promptOther               // a one-time code, a choice, a user name
	promptNew                 // a new password, or that one again
)

// maxPrompt is how much of a prompt's end is looked at, in bytes.
const maxPrompt = 2000

// passwordWords say that a prompt asks for a password, in the languages that a
// server may inherit from its machine's locale. They may be a part of a word.
var passwordWords = []string{
	aPassword, "passwd", "passphrase", "passwort", "kennwort", "mot de passe", "phrase de passe", "phrase secrète",
	"contraseña", "contrasena", "clave", "senha", "palavra-passe", "wachtwoord", "lösenord", "passord", "adgangskode", "kodeord",
	"salasana", "parool", "hasło", "heslo", "jelszó", "parola", "parolă", "şifre", "geslo", "lozinka", "zaporka", "пароль", "парола",
	"κωδικός πρόσβασης", "סיסמה", "كلمة المرور", "รหัสผ่าน", "mật khẩu", "kata sandi", "密码", "密碼", "口令", "パスワード", "비밀번호", "암호",
}

// otherWords say that a prompt asks for something that changes with time, wherever
// they are in its last clause. A name like "new-code" is another word.
var otherWords = words(`code codes codice código codigo kod kód kode koodi код кода κωδικός
	passcode tokencode token otp totp hotp 2fa mfa u2f fido pin sms authenticator yubikey securid captcha`)

// otherParts are such words that may be a part of a longer one.
var otherParts = []string{
	"one-time", "one time", "onetime", "two-factor", "two factor", "two-step", "2-step", "2-factor", "multi-factor", "second factor", "second password",
	"verif", "vérif", "weryfik", "einmal", "bestätig", "sicherheitscode", "zweiter faktor", "usage unique", "un solo uso", "uso único", "uso unico", "monouso", "usa e getta",
	"eenmalig", "engångs", "engangs", "kertakäyttö", "jednorázov", "jednorazow", "одноразов", "подтвержд", "tek kullanımlık",
	"验证码", "驗證碼", "认证码", "認證碼", "动态", "動態", "一次性", "確認コード", "認証コード", "検証コード", "ワンタイム", "일회용", "인증번호", "인증 코드", "인증코드",
}

// vagueWords do so where no word for a password is near: a service may be called
// Duo.
var vagueWords = words(`duo response challenge option options choice select push username login user yes/no y/n
	new neues neuen nouveau nouvelle nueva nuevo nova novo nuova nuovo nieuw nieuwe nytt ny nye nowe nové новый`)

// newWords say that a prompt asks for a new password, right before or after the
// word for that.
var newWords = words(`new neues neue neuen nouveau nouvelle nueva nuevo nova novo nuova nuovo nieuw nieuwe nytt ny nye nowe nové новый uusi yeni`)

// againWords say that a prompt asks for a new password once more.
var againWords = words(`retype retyped reenter re-enter re-type repeat again confirm confirmation wiederholen wiederholung erneut nochmals
	retapez confirmez confirmer répétez repita confirme confirmar ripeti conferma herhaal bevestig upprepa gjenta gentag powtórz opakujte znovu zopakuj повторите`)

// currentWords say that a prompt asks for a password that is to be changed.
var currentWords = words(`current old aktuelles derzeitiges altes actuel ancien actual antigua atual antiga attuale vecchia huidig huidige oude
	nuvarande gammalt nåværende gammelt nuværende obecne stare současné staré текущий старый`)

// asksCurrent reports whether a prompt asks for a password that is to be changed, as PAM
// does before it asks for a new one.
func asksCurrent(prompt string) bool {
	return hasWord(tokens(normal(lastLine(tail(prompt)))), currentWords)
}

// newParts are parts of prompts for a new password in languages that put no spaces.
var newParts = []string{"新password", "新的password", "新しいpassword", "새 password"}

// oneTimeChallenge begins the challenge of S/Key and OPIE (RFC 2289 section 6.2),
// after which FreeBSD asks for a "Password".
var oneTimeChallenge = regexp.MustCompile(`(?i)\b(otp-(md4|md5|sha1)|s/key) `)

// anAddress is of the form user@host.
var anAddress = regexp.MustCompile(`[^\s()\[\]]*@[^\s()\[\]]*`)

// clauseEnd ends what need not belong to what follows.
var clauseEnd = regexp.MustCompile(`[.!?;]\s+`)

func words(list string) map[string]bool {
	set := map[string]bool{}
	for word := range strings.FieldsSeq(list) {
		set[word] = true
	}
	return set
}

// judgePrompt finds out what a prompt asks for. names are those of the user and
// the host, which mean nothing. about is what the server says before the prompts:
// it counts where the prompt names no password.
func judgePrompt(prompt, about string, names ...string) promptKind {
	prompt, about = tail(prompt), tail(about)
	if oneTimeChallenge.MatchString(prompt) {
		return promptOther
	}
	line := lastLine(prompt)
	if !strings.ContainsFunc(line, unicode.IsLetter) {
		line = lastLine(about)
	}
	if !strings.Contains(normal(line), aPassword) {
		all := normal(anAddress.ReplaceAllString(about+"\n"+prompt, ""))
		// Here the parts of "login-code" are words as well.
		split := strings.ReplaceAll(all, "-", " ")
		if hasAny(all, otherParts) || hasWord(tokens(split), otherWords) || hasWord(tokens(lastLine(split)), vagueWords) {
			return promptOther
		}
		return promptPassword
	}
	line = normal(withoutNames(line, names))
	if clauses := clauseEnd.Split(line, -1); strings.Contains(clauses[len(clauses)-1], aPassword) {
		line = clauses[len(clauses)-1]
	}
	switch {
	case hasAny(line, otherParts) || hasWord(tokens(line), otherWords):
		return promptOther
	case asksNew(line):
		return promptNew
	default:
		return promptPassword
	}
}

// asksNew reports whether a clause that is about a password is about a new one.
func asksNew(clause string) bool {
	list := tokens(clause)
	if hasAny(clause, newParts) || hasWord(list, againWords) {
		return true
	}
	for i, word := range list {
		if strings.Contains(word, aPassword) && (hasWord(list[max(i-2, 0):i], newWords) || hasWord(list[i+1:min(i+2, len(list))], newWords)) {
			return true
		}
	}
	return false
}

// aPassword stands for each of passwordWords in a normal text.
const aPassword = "password"

// normal returns a text in lower case, with one word for a password.
func normal(text string) string {
	text = strings.ToLower(text)
	for _, word := range passwordWords {
		text = strings.ReplaceAll(text, word, aPassword)
	}
	return text
}

// withoutNames takes out what names somebody or something: addresses, hosts,
// what has a possessive ending, what follows "for", and names that come first or
// between brackets or quotes.
func withoutNames(line string, names []string) string {
	var kept []string
	skip := false
	for i, field := range strings.Fields(line) {
		word := strings.Trim(field, `"'`+"`‘’“”()[]<>{}:,;")
		apart := i == 0 || !strings.HasPrefix(field, word)
		isName := skip || strings.Contains(word, "@") || strings.HasSuffix(word, "'s") || strings.HasSuffix(word, "’s") ||
			strings.Contains(strings.Trim(word, "."), ".") || apart && slices.Contains(names, word)
		skip = forWords[strings.ToLower(word)]
		if !isName {
			kept = append(kept, field)
		}
	}
	return strings.Join(kept, " ")
}

// forWords come before a name.
var forWords = words(`for für pour para per voor för til dla pro для user benutzer utilisateur usuario utente gebruiker użytkownika пользователя of von`)

// tokens are a text's words. Those joined by hyphens are one, such as "new-box",
// unless all matter: "SMS-Code", "OTP-Password".
func tokens(text string) []string {
	var list []string
	for _, word := range strings.FieldsFunc(text, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsMark(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-_./", r)
	}) {
		word = strings.Trim(word, "-_./")
		parts := strings.Split(word, "-")
		if slices.ContainsFunc(parts, func(part string) bool { return !otherWords[part] && part != aPassword }) {
			parts = []string{word}
		}
		list = append(list, parts...)
	}
	return list
}

func hasWord(list []string, set map[string]bool) bool {
	return slices.ContainsFunc(list, func(word string) bool { return set[word] })
}

func hasAny(text string, parts []string) bool {
	return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(text, part) })
}

// lastLine returns the last line that is not blank.
func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexAny(text, "\r\n")+1:]
}

func tail(text string) string {
	return strings.ToValidUTF8(text[max(len(text)-maxPrompt, 0):], "")
}
