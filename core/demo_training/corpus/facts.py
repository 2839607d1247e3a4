"""What the demo model knows about the world: countries, their capitals, and about how many people live in those.

Populations are those of the urban area, in millions, rounded to two figures: good enough to compare cities with, and
no reference for anything else. The Chinese names are there for the countries a Chinese question is trained for.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Country:
    """A country and its capital. `weight` says how often the corpus speaks of it: well-known ones more often."""

    name: str
    capital: str
    millions: float
    weight: int = 1
    chinese: str = ""
    chinese_capital: str = ""
    demonym: str = ""

    @property
    def phrase(self) -> str:
        """The name as it stands in a sentence."""
        return f"the {self.name}" if self.name in WITH_ARTICLE else self.name


WITH_ARTICLE = frozenset(
    {
        "Bahamas",
        "Central African Republic",
        "Comoros",
        "Czech Republic",
        "Democratic Republic of the Congo",
        "Dominican Republic",
        "Gambia",
        "Maldives",
        "Marshall Islands",
        "Netherlands",
        "Philippines",
        "Republic of the Congo",
        "Seychelles",
        "Solomon Islands",
        "United Arab Emirates",
        "United Kingdom",
        "United States",
    }
)

# What people also call them, and the name the answers use.
ALIASES = {
    "UK": "United Kingdom",
    "Great Britain": "United Kingdom",
    "Britain": "United Kingdom",
    "England": "United Kingdom",
    "USA": "United States",
    "US": "United States",
    "America": "United States",
    "United States of America": "United States",
    "UAE": "United Arab Emirates",
    "Holland": "Netherlands",
    "Czechia": "Czech Republic",
    "Burma": "Myanmar",
    "Swaziland": "Eswatini",
    "Cote d'Ivoire": "Ivory Coast",
    "DR Congo": "Democratic Republic of the Congo",
    "Republic of Ireland": "Ireland",
    "Korea": "South Korea",
    "Turkiye": "Turkey",
    "PRC": "China",
    "East Timor": "Timor-Leste",
}

# name | capital | millions | weight | Chinese name | Chinese capital | demonym
_TABLE = """
France|Paris|11|6|法国|巴黎|French
Germany|Berlin|3.6|6|德国|柏林|German
Japan|Tokyo|37|6|日本|东京|Japanese
United Kingdom|London|9.6|5|英国|伦敦|British
Italy|Rome|4.3|5|意大利|罗马|Italian
Spain|Madrid|6.7|5|西班牙|马德里|Spanish
Portugal|Lisbon|3|4|葡萄牙|里斯本|Portuguese
China|Beijing|21|5|中国|北京|Chinese
India|New Delhi|33|5|印度|新德里|Indian
United States|Washington, D.C.|5.5|5|美国|华盛顿|American
Canada|Ottawa|1.4|4|加拿大|渥太华|Canadian
Mexico|Mexico City|22|4|墨西哥|墨西哥城|Mexican
Brazil|Brasilia|4.8|4|巴西|巴西利亚|Brazilian
Argentina|Buenos Aires|15|4|阿根廷|布宜诺斯艾利斯|Argentinian
Russia|Moscow|13|5|俄罗斯|莫斯科|Russian
South Korea|Seoul|10|4|韩国|首尔|South Korean
Australia|Canberra|0.47|4|澳大利亚|堪培拉|Australian
Egypt|Cairo|22|4|埃及|开罗|Egyptian
Turkey|Ankara|5.4|4|土耳其|安卡拉|Turkish
Greece|Athens|3.2|4|希腊|雅典|Greek
Netherlands|Amsterdam|1.2|4|荷兰|阿姆斯特丹|Dutch
Belgium|Brussels|2.1|4|比利时|布鲁塞尔|Belgian
Switzerland|Bern|0.44|4|瑞士|伯尔尼|Swiss
Austria|Vienna|2|4|奥地利|维也纳|Austrian
Poland|Warsaw|1.8|4|波兰|华沙|Polish
Sweden|Stockholm|1.7|4|瑞典|斯德哥尔摩|Swedish
Norway|Oslo|1.1|4|挪威|奥斯陆|Norwegian
Denmark|Copenhagen|1.4|4|丹麦|哥本哈根|Danish
Finland|Helsinki|1.3|4|芬兰|赫尔辛基|Finnish
Ireland|Dublin|1.3|4|爱尔兰|都柏林|Irish
Thailand|Bangkok|11|4|泰国|曼谷|Thai
Vietnam|Hanoi|5.3|3|越南|河内|Vietnamese
Indonesia|Jakarta|34|3|印度尼西亚|雅加达|Indonesian
Philippines|Manila|15|3|菲律宾|马尼拉|Filipino
Malaysia|Kuala Lumpur|8.6|3|马来西亚|吉隆坡|Malaysian
Singapore|Singapore|6.1|3|新加坡|新加坡|Singaporean
Saudi Arabia|Riyadh|7.7|3|沙特阿拉伯|利雅得|Saudi
Iran|Tehran|9.6|3|伊朗|德黑兰|Iranian
Iraq|Baghdad|7.9|3|伊拉克|巴格达|Iraqi
Ukraine|Kyiv|3|3|乌克兰|基辅|Ukrainian
Hungary|Budapest|1.8|3|匈牙利|布达佩斯|Hungarian
Czech Republic|Prague|1.3|3|捷克|布拉格|Czech
Peru|Lima|11|3|秘鲁|利马|Peruvian
Chile|Santiago|6.9|3|智利|圣地亚哥|Chilean
Colombia|Bogota|12|3|哥伦比亚|波哥大|Colombian
Cuba|Havana|2.1|3|古巴|哈瓦那|Cuban
Kenya|Nairobi|5.5|3|肯尼亚|内罗毕|Kenyan
Ethiopia|Addis Ababa|5.7|3|埃塞俄比亚|亚的斯亚贝巴|Ethiopian
Nigeria|Abuja|4|3|尼日利亚|阿布贾|Nigerian
South Africa|Pretoria|2.8|3|南非|比勒陀利亚|South African
Morocco|Rabat|1.9|3|摩洛哥|拉巴特|Moroccan
New Zealand|Wellington|0.42|3|新西兰|惠灵顿|New Zealand
Iceland|Reykjavik|0.24|3|冰岛|雷克雅未克|Icelandic
Pakistan|Islamabad|1.3|3|巴基斯坦|伊斯兰堡|Pakistani
Mongolia|Ulaanbaatar|1.7|2|蒙古|乌兰巴托|Mongolian
North Korea|Pyongyang|3.2|2|朝鲜|平壤|North Korean
Nepal|Kathmandu|1.6|2|尼泊尔|加德满都|Nepalese
Bangladesh|Dhaka|24|2|孟加拉国|达卡|Bangladeshi
Romania|Bucharest|1.8|2|罗马尼亚|布加勒斯特|Romanian
Bulgaria|Sofia|1.3|2|||Bulgarian
Croatia|Zagreb|0.68|2|||Croatian
Serbia|Belgrade|1.4|2|||Serbian
Slovakia|Bratislava|0.44|2|||Slovak
Slovenia|Ljubljana|0.29|2|||Slovenian
Israel|Jerusalem|0.98|2|||Israeli
Lebanon|Beirut|2.4|2|||Lebanese
Syria|Damascus|2.6|2|||Syrian
Jordan|Amman|2.2|2|||Jordanian
Qatar|Doha|0.66|2|||Qatari
Kuwait|Kuwait City|3.3|2|||Kuwaiti
United Arab Emirates|Abu Dhabi|1.6|2|||Emirati
Afghanistan|Kabul|4.7|2|||Afghan
Algeria|Algiers|2.9|2|||Algerian
Tunisia|Tunis|2.5|2|||Tunisian
Libya|Tripoli|1.2|2|||Libyan
Sudan|Khartoum|6.3|2|||Sudanese
Ghana|Accra|2.7|2|||Ghanaian
Senegal|Dakar|3.4|2|||Senegalese
Tanzania|Dodoma|0.77|2|||Tanzanian
Uganda|Kampala|3.8|2|||Ugandan
Zimbabwe|Harare|1.6|2|||Zimbabwean
Zambia|Lusaka|3.2|2|||Zambian
Angola|Luanda|9.3|2|||Angolan
Madagascar|Antananarivo|3.9|2|||Malagasy
Venezuela|Caracas|3|2|||Venezuelan
Ecuador|Quito|2|2|||Ecuadorian
Bolivia|Sucre|0.28|2|||Bolivian
Paraguay|Asuncion|3.5|2|||Paraguayan
Uruguay|Montevideo|1.8|2|||Uruguayan
Costa Rica|San Jose|1.5|2|||Costa Rican
Panama|Panama City|2|2|||Panamanian
Jamaica|Kingston|0.6|2|||Jamaican
Dominican Republic|Santo Domingo|3.5|2|||Dominican
Guatemala|Guatemala City|3.1|2|||Guatemalan
Honduras|Tegucigalpa|1.5|2|||Honduran
Nicaragua|Managua|1.1|2|||Nicaraguan
El Salvador|San Salvador|1.1|2|||Salvadoran
Haiti|Port-au-Prince|3|2|||Haitian
Sri Lanka|Sri Jayawardenepura Kotte|0.1|2|||Sri Lankan
Myanmar|Naypyidaw|0.74|2|||Burmese
Cambodia|Phnom Penh|2.3|2|||Cambodian
Laos|Vientiane|0.73|2|||Laotian
Kazakhstan|Astana|1.3|2|||Kazakh
Uzbekistan|Tashkent|2.6|2|||Uzbek
Georgia|Tbilisi|1.1|2|||Georgian
Armenia|Yerevan|1.1|2|||Armenian
Azerbaijan|Baku|2.5|2|||Azerbaijani
Belarus|Minsk|2.1|2|||Belarusian
Lithuania|Vilnius|0.55|2|||Lithuanian
Latvia|Riga|0.62|2|||Latvian
Estonia|Tallinn|0.45|2|||Estonian
Luxembourg|Luxembourg City|0.13|2|||Luxembourgish
Malta|Valletta|0.21|2|||Maltese
Cyprus|Nicosia|0.27|2|||Cypriot
Albania|Tirana|0.52|2|||Albanian
North Macedonia|Skopje|0.61|2|||Macedonian
Bosnia and Herzegovina|Sarajevo|0.35|2|||Bosnian
Montenegro|Podgorica|0.18|2|||Montenegrin
Moldova|Chisinau|0.49|2|||Moldovan
Kosovo|Pristina|0.23|2|||Kosovar
Andorra|Andorra la Vella|0.023
Monaco|Monaco|0.039
Liechtenstein|Vaduz|0.006
San Marino|San Marino|0.004
Vatican City|Vatican City|0.0005
Yemen|Sanaa|3.3|1|||Yemeni
Oman|Muscat|1.7|1|||Omani
Bahrain|Manama|0.74|1|||Bahraini
Bhutan|Thimphu|0.2|1|||Bhutanese
Maldives|Male|0.18
Brunei|Bandar Seri Begawan|0.27|1|||Bruneian
Timor-Leste|Dili|0.28
Kyrgyzstan|Bishkek|1.1|1|||Kyrgyz
Tajikistan|Dushanbe|1|1|||Tajik
Turkmenistan|Ashgabat|0.9|1|||Turkmen
Papua New Guinea|Port Moresby|0.41
Fiji|Suva|0.19|1|||Fijian
Samoa|Apia|0.04|1|||Samoan
Tonga|Nuku'alofa|0.023|1|||Tongan
Vanuatu|Port Vila|0.05
Solomon Islands|Honiara|0.09
Kiribati|South Tarawa|0.063
Tuvalu|Funafuti|0.006
Nauru|Yaren|0.0008
Palau|Ngerulmud|0.0003
Marshall Islands|Majuro|0.024
Micronesia|Palikir|0.005
Bahamas|Nassau|0.27
Barbados|Bridgetown|0.11
Belize|Belmopan|0.021
Guyana|Georgetown|0.2|1|||Guyanese
Suriname|Paramaribo|0.24|1|||Surinamese
Trinidad and Tobago|Port of Spain|0.54
Grenada|St. George's|0.04
Dominica|Roseau|0.015
Saint Lucia|Castries|0.022
Saint Vincent and the Grenadines|Kingstown|0.027
Saint Kitts and Nevis|Basseterre|0.014
Antigua and Barbuda|St. John's|0.022
Cameroon|Yaounde|4.5|1|||Cameroonian
Ivory Coast|Yamoussoukro|0.34|1|||Ivorian
Mali|Bamako|2.9|1|||Malian
Niger|Niamey|1.4
Burkina Faso|Ouagadougou|3.2
Chad|N'Djamena|1.6|1|||Chadian
Benin|Porto-Novo|0.29
Togo|Lome|2
Guinea|Conakry|2.1
Guinea-Bissau|Bissau|0.66
Sierra Leone|Freetown|1.3
Liberia|Monrovia|1.7|1|||Liberian
Gambia|Banjul|0.48|1|||Gambian
Mauritania|Nouakchott|1.5|1|||Mauritanian
Cape Verde|Praia|0.17
Gabon|Libreville|0.88
Equatorial Guinea|Malabo|0.3
Sao Tome and Principe|Sao Tome|0.09
Central African Republic|Bangui|0.96
Democratic Republic of the Congo|Kinshasa|17|1|||Congolese
Republic of the Congo|Brazzaville|2.7
Rwanda|Kigali|1.3|1|||Rwandan
Burundi|Gitega|0.14
Somalia|Mogadishu|2.7|1|||Somali
Djibouti|Djibouti|0.6
Eritrea|Asmara|1|1|||Eritrean
South Sudan|Juba|0.46
Malawi|Lilongwe|1.3|1|||Malawian
Mozambique|Maputo|1.2|1|||Mozambican
Namibia|Windhoek|0.48|1|||Namibian
Botswana|Gaborone|0.28
Lesotho|Maseru|0.33
Eswatini|Mbabane|0.07
Mauritius|Port Louis|0.15|1|||Mauritian
Seychelles|Victoria|0.027
Comoros|Moroni|0.065
"""


def _parse(line: str) -> Country:
    fields = line.split("|") + [""] * 7
    name, capital, millions, weight, chinese, chinese_capital, demonym = fields[:7]
    return Country(name, capital, float(millions), int(weight or 1), chinese, chinese_capital, demonym)


COUNTRIES: tuple[Country, ...] = tuple(_parse(line) for line in _TABLE.strip().splitlines())
BY_NAME = {country.name: country for country in COUNTRIES}


def people(millions: float) -> str:
    """A population in words: `37 million`, `470,000`."""
    if millions >= 1:
        return f"{millions:g} million"
    return f"{round(millions * 1e6):,}"
