package sshauth

import "testing"

// TestJudgePrompt: prompts of PAM modules, RADIUS servers and appliances, and
// ones whose names and other text are misleading.
func TestJudgePrompt(t *testing.T) {
	t.Parallel()
	for kind, prompts := range map[promptKind][]string{
		promptPassword: {
			"", " ", ":", "\n", "> ", "Password: ", "password:", "PASSWORD", "Password", "Password for root:", "Secret:", "PW: ", "Enter passphrase: ", "Passphrase:",
			"(deploy@b.example) Password: ", "(deploy@b.example) ", "deploy@b.example's password: ", "deploy's password:", "LDAP Password:", "UNIX password: ", "AD Password: ", "RADIUS password:", "Enter password: ",
			"Enter your password: ", "Please enter your password", "[sudo] password for deploy: ", "Password for deploy@EXAMPLE.COM: ", "First Factor: ", "Local\\deploy password:", "Enter Windows password: ", "Kerberos password",
			"Current password: ", "(current) UNIX password: ",
			// Names.
			"Password for deploy@code.example.com:", "Password for deploy@code:", "Password for deploy@pin.example.com:", "code.example.com password:", "pin.duo.example password: ", "Password for duo:", "Password for code: ",
			"Password for user code:", "Password for 'token':", "[deploy@new] password: ", "deploy@otp's password: ", "code's password:", "new-box login password: ", "duo-gw password:", "new_host Password:", "vs-code password:",
			"newcastle password:", "pinguin password", "decoder's password", "deploy password:", "code password:", "Password for deploy on new.example.com: ", "(code) Password:", "Password (deploy@2fa.example.com): ", "Enter password for code: ",
			"Mot de passe pour code :", "Contraseña para duo:", "Passwort für pin: ",
			// Text before it.
			"Welcome to the new bastion!\nPassword: ", "Postal code service\r\nPassword:", "Duo Security\n\nPassword: ", "A new server. Password: ", "Restricted code repository. Password: ", "PIN pads are in stock; password:", "Duo password:", "Duo login\nPassword:", "Try again.\nPassword: ", "Wrong. Try again. Password:",
			"New in 2026: pin boards\nPassword:", "Enter a code later\n(deploy@b) Password:\n", "Welcome to our new login service. Please enter your password:",
			// Languages.
			"Passwort: ", "Kennwort:", "Mot de passe : ", "Contraseña: ", "Senha: ", "Wachtwoord: ", "Lösenord: ", "Adgangskode: ", "Kodeord: ", "Hasło: ", "Heslo: ", "Jelszó: ", "Пароль: ", "密码：", "密碼: ", "パスワード: ", "암호: ",
			"비밀번호:", "Parola: ", "Şifre: ", "Salasana: ", "Geslo: ", "Пароль для code:", "Κωδικός πρόσβασης:", "Lykilorð:", "Slaptažodis: ", "Fjalëkalimi:", "पासवर्ड:", "登录口令:", "Passwort von deploy@code: ",
		},
		promptOther: {
			// Google Authenticator, OATH, YubiKey, Duo, Azure, Okta, SecurID, sssd, Cisco, OPIE.
			"Verification code: ", "(deploy@b.example) Verification code: ", "Password & verification code: ", "One-time password (OATH) for `deploy': ", "One-time password (OATH) for deploy: ", "YubiKey for `deploy': ",
			"Duo two-factor login for deploy\n\nEnter a passcode or select one of the following options:\n\n 1. Duo Push to XXX-XXX-1234\n 2. Phone call to XXX-XXX-1234\n\nPasscode or option (1-2): ",
			"Enter a passcode or select one of the following options: ", "Passcode: ", "Duo passcode: ", "Duo two-factor login", "Enter Your Microsoft verification code", "Enter your choice (1-2): ", "Enter PASSCODE: ",
			"Wait for the tokencode to change, then enter the new tokencode: ", "Enter a new PIN having from 4 to 8 digits: ", "PIN: ", "Enter PIN:", "Enter your PIN and password", "Second Factor: ", "Second Factor (optional): ", "Second password: ",
			"Password + Token:", "Password + Token value: ", "Enter OTP: ", "OTP:", "OTP Password:", "TOTP-Code:", "OTP-Passwort: ", "Enter Your TOTP code", "2FA token:", "MFA Code: ", "Token: ", "Token for deploy: ", "SMS code: ", "Enter SMS passcode:",
			"Challenge: 12345678\nResponse: ", "otp-md5 495 ke1234 ext\nPassword: ", "s/key 97 fw13894\nPassword: ", "otp-sha1 99 lo12345 ext, Response: ", "Response: ", "Authenticator: ", "Authentication code:", "Security code: ", "Access code:", "Login code: ",
			"One time password: ", "Onetime password:", "Enter the code that was sent to you. Input: ", "Username: ", "login: ", "Continue? (yes/no) ", "Code for deploy@b.example: ", "Enter the OTP password. > ", "Enter the OTP password. Input: ", "Password, then the code: ", "Enter your password. Verification code: ", "Emergency scratch code:", "Captcha: ", "Touch your YubiKey: ",
			// Languages.
			"Einmalpasswort: ", "Einmal-Passwort:", "Bestätigungscode: ", "Sicherheitscode: ", "SMS-Code: ", "PIN-Code:", "Zweiter Faktor:", "Code de vérification : ", "Mot de passe à usage unique : ", "Código de verificación: ", "Código: ", "Contraseña de un solo uso: ", "Código de verificação: ",
			"Codice di verifica: ", "Verificatiecode: ", "Eenmalig wachtwoord:", "Engångslösenord: ", "Kod weryfikacyjny: ", "Jednorazowe hasło: ", "Kód: ", "Jednorázové heslo:", "Код подтверждения: ", "Одноразовый пароль: ", "验证码：", "動態密碼:", "动态口令：",
			"一次性密码:", "確認コード: ", "ワンタイムパスワード: ", "인증번호:", "일회용 비밀번호: ", "Kode: ", "Κωδικός:",
		},
		promptNew: {
			"New password: ", "New UNIX password: ", "Enter new UNIX password: ", "Retype new password: ", "Retype new UNIX password: ", "Enter a new password: ", "New Password (again): ", "New LDAP password:", "Confirm password: ", "Re-enter password:",
			"Your password has expired.\nNew password: ", "Reenter password:", "Password again: ", "Neues Passwort: ", "Geben Sie ein neues Passwort ein: ", "Passwort wiederholen:", "Nouveau mot de passe : ", "Nueva contraseña: ", "Contraseña nueva:", "Nova senha: ",
			"Nuova password: ", "Nieuw wachtwoord: ", "Nytt lösenord:", "Nowe hasło: ", "Nové heslo: ", "Новый пароль: ", "新密码：", "新的密碼:", "新しいパスワード: ", "새 암호: ", "Retapez le nouveau mot de passe :", "(deploy@b.example) New password: ",
		},
	} {
		for _, prompt := range prompts {
			if got := judgePrompt(prompt, "", "deploy", "b.example", "b", "code"); got != kind {
				t.Errorf("%q: %v, want %v", prompt, got, kind)
			}
		}
	}
}

// TestJudgePromptAbout: what the server says before a prompt counts only where the
// prompt itself says nothing.
func TestJudgePromptAbout(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		about, prompt string
		want          promptKind
	}{
		{"Enter the verification code from your phone.", "", promptOther},
		{"Enter the verification code from your phone.", "> ", promptOther},
		{"Your one-time password is on its way", "Enter it here: ", promptOther},
		{"You will be asked for a code next.", "Password: ", promptPassword},
		{"Welcome to the new login server", "Answer: ", promptPassword},
		{"", "Answer: ", promptPassword},
		{"Password for deploy@code.example.com", "", promptPassword},
		{"Login as deploy@code", "> ", promptPassword},
		{"deploy@code", "Secret: ", promptPassword},
		{"Choose a new password", ": ", promptNew},
		{"Password:", "Code: ", promptOther},
		{"Duo two-factor login for deploy", "Password: ", promptPassword},
	} {
		if got := judgePrompt(test.prompt, test.about, "deploy"); got != test.want {
			t.Errorf("%q, %q: %v, want %v", test.about, test.prompt, got, test.want)
		}
	}
}
