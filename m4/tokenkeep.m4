# SPDX-License-Identifier: MIT
# What the build asks of the compiler: warnings, hardening (each flag is tried before it is used), sanitizers.

# TK_TRY_FLAGS(VARIABLE, FLAG...): adds each flag that the compiler and the linker take without a warning.
AC_DEFUN([TK_TRY_FLAGS], [
  for tk_flag in $2; do
    AC_MSG_CHECKING([whether $CC takes $tk_flag])
    tk_saved_cflags=$CFLAGS
    CFLAGS="$CFLAGS $tk_flag -Werror"
    AC_LINK_IFELSE([AC_LANG_PROGRAM([[]], [[return 0;]])],
      [AC_MSG_RESULT([yes]); $1="$$1 $tk_flag"], [AC_MSG_RESULT([no])])
    CFLAGS=$tk_saved_cflags
  done
])

# TK_LIBRARY(NAME, PKG-CONFIG MODULE, DEBIAN PACKAGE, [OTHER MODULE NAME]): notes the package in $missing when it is not there.
AC_DEFUN([TK_LIBRARY], [
  PKG_CHECK_MODULES([$1], [$2], [], [m4_ifval([$4],
    [PKG_CHECK_MODULES([$1], [$4], [], [missing="$missing $3"])], [missing="$missing $3"])])
])

# TK_COMPILER_FLAGS: sets TK_CFLAGS, TK_CPPFLAGS and TK_LDFLAGS.
AC_DEFUN([TK_COMPILER_FLAGS], [
  AC_ARG_ENABLE([werror], [AS_HELP_STRING([--enable-werror], [treat warnings as errors])], [], [enable_werror=no])
  AC_ARG_ENABLE([asan], [AS_HELP_STRING([--enable-asan], [build with AddressSanitizer])], [], [enable_asan=no])
  AC_ARG_ENABLE([ubsan], [AS_HELP_STRING([--enable-ubsan], [build with UndefinedBehaviorSanitizer])], [], [enable_ubsan=no])
  AC_ARG_ENABLE([hardening], [AS_HELP_STRING([--disable-hardening], [leave out PIE, relro, stack protector and fortify])],
    [], [enable_hardening=yes])

  TK_CFLAGS= TK_CPPFLAGS= TK_LDFLAGS=
  TK_TRY_FLAGS([TK_CFLAGS], [-Wall -Wextra -Wshadow -Wconversion -Wformat=2 -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wundef -Wvla -fno-common])
  AS_IF([test "$enable_werror" = yes], [TK_CFLAGS="$TK_CFLAGS -Werror"])

  AS_IF([test "$enable_asan" = yes],
    [TK_CFLAGS="$TK_CFLAGS -fsanitize=address -fno-omit-frame-pointer"
     TK_LDFLAGS="$TK_LDFLAGS -fsanitize=address"])
  AS_IF([test "$enable_ubsan" = yes],
    [TK_CFLAGS="$TK_CFLAGS -fsanitize=undefined -fno-sanitize-recover=undefined"
     TK_LDFLAGS="$TK_LDFLAGS -fsanitize=undefined"])

  AS_IF([test "$enable_hardening" = yes], [
    TK_TRY_FLAGS([TK_CFLAGS], [-fPIE -fstack-protector-strong -fstack-clash-protection -fcf-protection])
    TK_TRY_FLAGS([TK_LDFLAGS], [-pie -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack])
    # Fortify needs optimisation, and hides from AddressSanitizer what it would have seen.
    AS_IF([test "$enable_asan" = no], [AS_CASE([" $CFLAGS "], [*" -O0 "*], [], [*" -O"*],
      [AS_CASE([" $CFLAGS $CPPFLAGS "], [*_FORTIFY_SOURCE*], [],
        [TK_CPPFLAGS="$TK_CPPFLAGS -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2"])])])
  ])
  AC_SUBST([TK_CFLAGS])
  AC_SUBST([TK_CPPFLAGS])
  AC_SUBST([TK_LDFLAGS])
])
