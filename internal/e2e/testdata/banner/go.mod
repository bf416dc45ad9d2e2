// A plugin as somebody else writes it: with this path, it can import no package of
// internal/. It requires what the build does; xcaddy chooses the versions.
module example.com/banner

go 1.26
